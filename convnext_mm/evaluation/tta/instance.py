"""Test-time augmentation of instance segmentation, which MMDetection 3.3 refuses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

# Of a (K, H, W) mask.
_FLIPPED_DIMS = {'horizontal': (2,), 'vertical': (1,), 'diagonal': (1, 2)}


@MODELS.register_module()
class InstanceTTAModel(DetTTAModel):
    """Detect on several views of an image and keep, by NMS over all of them, the best instances.

    An instance keeps the mask of the view that scored it highest. Views differ in scale and flip.

    Args:
        tta_cfg: ``nms``, the config of the suppression across views, and ``max_per_img``.
        module: The detector, as config or module.
    """

    def test_step(self, data: dict) -> list[DetDataSample]:
        # MMDetection's cascade undoes a flip that it sees, with an index that torch refuses.
        # So the detector does not see it; all flips are undone here.
        for samples in data['data_samples']:
            for sample in samples:
                undo = sample.flip_direction if sample.flip else None
                sample.set_metainfo(dict(flip=False, flip_to_undo=undo))
        return super().test_step(data)

    def _merge_single_sample(self, data_samples: Sequence[DetDataSample]) -> DetDataSample:
        views = [_unflipped(sample) for sample in data_samples]
        merged = InstanceData.cat(views)
        if len(merged):
            boxes, keep = batched_nms(
                merged.bboxes, merged.scores, merged.labels, nms_cfg=self.tta_cfg.nms
            )
            merged = merged[keep]
            merged.scores = boxes[:, -1]  # soft-NMS lowers them
            merged = merged[: self.tta_cfg.max_per_img]
        result = data_samples[0]
        result.pred_instances = merged
        return result


def _unflipped(sample: DetDataSample) -> InstanceData:
    """Predictions of one view in the coordinates of the original image."""
    instances = sample.pred_instances
    direction = sample.flip_to_undo
    if direction:
        boxes = bbox_flip(instances.bboxes, sample.ori_shape, direction)
        masks: Tensor | None = instances.get('masks')
        instances = InstanceData(bboxes=boxes, scores=instances.scores, labels=instances.labels)
        if masks is not None:
            instances.masks = torch.flip(masks, _FLIPPED_DIMS[direction])
    return instances
