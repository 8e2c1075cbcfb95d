"""Test-time augmentation for instance segmentation, which MMDetection 3.3 does not support."""

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

# The dimensions of (K, H, W) masks to flip back.
_FLIPPED_DIMS = {'horizontal': (2,), 'vertical': (1,), 'diagonal': (1, 2)}


@MODELS.register_module()
class InstanceTTAModel(DetTTAModel):
    """Detect instances in several views of an image and keep the best ones after NMS.

    The views differ in scale and flip. Each instance keeps the mask of the view with the highest
    score.

    Args:
        tta_cfg: ``nms``, the config of the NMS over the instances of all views, and
            ``max_per_img``.
        module: The detector, as a config or a module.
    """

    def test_step(self, data: dict) -> list[DetDataSample]:
        # MMDetection's cascade head fails when it undoes a flip: torch rejects its index. So the
        # flip is hidden from the detector and undone here.
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
            merged.scores = boxes[:, -1]  # soft-NMS lowers the scores
            merged = merged[: self.tta_cfg.max_per_img]
        result = data_samples[0]
        result.pred_instances = merged
        return result


def _unflipped(sample: DetDataSample) -> InstanceData:
    """Return the predictions of one view in the coordinates of the original image."""
    instances = sample.pred_instances
    direction = sample.flip_to_undo
    if direction:
        boxes = bbox_flip(instances.bboxes, sample.ori_shape, direction)
        masks: Tensor | None = instances.get('masks')
        instances = InstanceData(bboxes=boxes, scores=instances.scores, labels=instances.labels)
        if masks is not None:
            instances.masks = torch.flip(masks, _FLIPPED_DIMS[direction])
    return instances
