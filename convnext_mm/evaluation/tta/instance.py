"""Test-time augmentation for instance segmentation, which MMDetection 3.3 does not support."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip, bbox_overlaps
from mmdet.structures.mask import mask2bbox
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from convnext_mm.errors import UserError

# The dimensions of (K, H, W) masks to flip back.
_FLIPPED_DIMS = {'horizontal': (2,), 'vertical': (1,), 'diagonal': (1, 2)}


@MODELS.register_module()
class InstanceTTAModel(DetTTAModel):
    """Detect instances in several views of an image and keep the best ones after NMS.

    The views differ in scale and flip. Each instance keeps the mask of the view with the highest
    score. NMS compares boxes; for detectors without boxes (SOLO, SOLOv2) it compares masks.

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
        if 'pred_instances' not in data_samples[0]:
            raise UserError(
                f'--tta: {type(self.module).__name__} predicts no instances; only the views of '
                'detectors with boxes or instance masks can be merged'
            )
        merged = InstanceData.cat([_unflipped(sample) for sample in data_samples])
        if len(merged):
            merged = self._suppress(merged)[: self.tta_cfg.max_per_img]
        result = data_samples[0]
        result.pred_instances = merged
        return result

    def _suppress(self, instances: InstanceData) -> InstanceData:
        """Remove the duplicates among instances, and sort by score."""
        if 'masks' in instances and not _areas(instances.bboxes).any():
            instances.bboxes = mask2bbox(instances.masks)
            return instances[_mask_nms(instances, self.tta_cfg.nms.iou_threshold)]
        boxes, keep = batched_nms(
            instances.bboxes, instances.scores, instances.labels, nms_cfg=self.tta_cfg.nms
        )
        instances = instances[keep]
        instances.scores = boxes[:, -1]  # soft-NMS lowers the scores
        return instances


def _unflipped(sample: DetDataSample) -> InstanceData:
    """Return the predictions of one view in the coordinates of the original image."""
    found, direction = sample.pred_instances, sample.flip_to_undo
    # Other fields cannot be merged, such as the mask kernels of RTMDet-Ins.
    instances = InstanceData(bboxes=found.bboxes, scores=found.scores, labels=found.labels)
    if 'masks' in found:
        instances.masks = found.masks.bool()  # Without instances, SOLO returns floats.
    if direction:
        instances.bboxes = bbox_flip(instances.bboxes, sample.ori_shape, direction)
        if 'masks' in instances:
            instances.masks = torch.flip(instances.masks, _FLIPPED_DIMS[direction])
    return instances


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _mask_nms(instances: InstanceData, threshold: float) -> Tensor:
    """Return the indices of the instances to keep, in the order of their scores.

    An instance is removed if its mask overlaps the mask of a better one of its class.

    Args:
        instances: With boxes that enclose the masks.
        threshold: The highest IoU that the masks of two kept instances of one class may have.
    """
    boxes, masks = instances.bboxes, instances.masks
    sizes = masks.flatten(1).sum(1)
    same_class = instances.labels[:, None] == instances.labels
    comparable = same_class & (bbox_overlaps(boxes, boxes, mode='iof') > 0)
    keep = []
    order = instances.scores.argsort(descending=True, stable=True)
    left = torch.ones_like(order, dtype=torch.bool)
    for index in order.tolist():
        if not left[index]:
            continue
        keep.append(index)
        left[index] = False
        others = (left & comparable[index]).nonzero()[:, 0]
        x1, y1, x2, y2 = boxes[index].int().tolist()
        shared = (masks[others, y1:y2, x1:x2] & masks[index, y1:y2, x1:x2]).flatten(1).sum(1)
        ious = shared / (sizes[others] + sizes[index] - shared).clamp(min=1)
        left[others[ious > threshold]] = False
    return order.new_tensor(keep)
