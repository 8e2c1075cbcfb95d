"""Faster R-CNN, Mask R-CNN and their cascades as one module, including NMS and mask selection.

MMDetection processes each image on its own, with lists of varying length. Here every step has a
fixed number of rows per image, and rows without an object have the score 0. This keeps the batch
dimension dynamic. The layers are the layers of the model; the steps between them follow
MMDetection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models import dense_heads, roi_heads
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import bbox_heads, mask_heads, roi_extractors
from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import DeltaXYWHBBoxCoder, delta2bbox
from torch import Tensor, nn

from convnext_mm.errors import UserError
from convnext_mm.export.wrappers import pad, refuse_unless, run

BOX_HEADS = (
    bbox_heads.ConvFCBBoxHead,
    bbox_heads.Shared2FCBBoxHead,
    bbox_heads.Shared4Conv1FCBBoxHead,
)


class Detector(nn.Module):
    """A two-stage detector of MMDetection.

    Raises:
        UserError: A module or a setting of the model is not supported. The message names it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        _check(model)
        self.model = model
        roi_head = model.roi_head
        self.box_heads = _as_list(roi_head.bbox_head)
        self.box_extractors = _as_list(roi_head.bbox_roi_extractor)
        self.mask_heads = _as_list(roi_head.mask_head) if roi_head.with_mask else []
        self.mask_extractors = _as_list(roi_head.mask_roi_extractor) if self.mask_heads else []
        self.outputs = ('boxes', 'scores', 'labels', 'masks')[: 4 if self.mask_heads else 3]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect the M = `max_per_img` best objects of each image, the best one first.

        Args:
            image: (N, 3, H, W).

        Returns:
            Boxes (N, M, 4) as x1, y1, x2, y2 in pixels, scores (N, M), labels (N, M) and, for a
            model with masks, mask probabilities (N, M, S, S) on a grid over each box. Rows beyond
            the last object have the score 0 and the label -1.
        """
        height, width = image.shape[-2:]
        # The network sees the padding, but boxes end at the border of the image.
        border = torch.stack([torch.scalar_tensor(side) for side in (width, height)] * 2)
        processor = self.model.data_preprocessor
        image = pad(image, processor.pad_size_divisor, processor.pad_value)
        maps = run(self.model.extract_feat, image)
        proposals, real = self._propose(maps, border)
        image_index = _image_index(proposals)
        boxes, scores = self._classify(maps, proposals.flatten(0, 1), image_index, border)
        # (R, B, 4), (R, C) -> (N, C, P, 4), (N, C, P). B is C, or 1 if the classes share a box.
        scores = scores.unflatten(0, real.shape).mul(real[..., None]).mT
        boxes = boxes.unflatten(0, real.shape).transpose(1, 2).expand(*scores.shape, 4)
        boxes, scores, labels = self._best(boxes, scores)
        if not self.mask_heads:
            return boxes, scores, labels
        return boxes, scores, labels, self._masks(maps, boxes, labels)

    def _propose(self, maps: Sequence[Tensor], border: Tensor) -> tuple[Tensor, Tensor]:
        """Return proposals (N, P, 4), and (N, P) that is false for rows without a proposal."""
        head, cfg = self.model.rpn_head, self.model.rpn_head.test_cfg
        scores, deltas = run(head, maps)
        anchors = head.prior_generator.grid_priors(
            [score.shape[-2:] for score in scores], device=maps[0].device
        )
        levels = []
        for score, delta, anchor in zip(scores, deltas, anchors):
            score, delta = _by_anchor(score, 1).sigmoid(), _by_anchor(delta, 4)
            rows = torch.cat([score, delta, anchor.expand_as(delta)], dim=-1)
            rows = F.pad(rows, (0, 0, 0, cfg.nms_pre))  # a level may have fewer anchors
            levels.append(_gather_rows(rows, rows[..., 0].topk(cfg.nms_pre).indices))
        score, delta, anchor = torch.stack(levels, dim=1).split([1, 4, 4], dim=-1)
        boxes = _decode(head.bbox_coder, anchor, delta, border)
        large = (boxes[..., 2:] - boxes[..., :2] > cfg.get('min_bbox_size', -1)).all(-1)
        score = score[..., 0] * large
        kept = torch.ops.convnext_mm.nms(
            boxes.flatten(0, 1), score.flatten(0, 1), cfg.nms.iou_threshold, 0.0
        )
        kept = kept.reshape(boxes.shape[0], -1)
        best = kept.topk(min(cfg.max_per_img, cfg.nms_pre * len(levels)))
        return _gather_rows(boxes.flatten(1, 2), best.indices), best.values > 0

    def _classify(
        self, maps: Sequence[Tensor], boxes: Tensor, image_index: Tensor, border: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes (R, 4) -> boxes (R, 1 or classes, 4) and probabilities (R, classes)."""
        total = 0
        for stage, (head, extractor) in enumerate(zip(self.box_heads, self.box_extractors), 1):
            scores, deltas = run(head, _cut_out(extractor, maps, boxes, image_index))
            total = total + scores
            deltas = deltas.unflatten(1, (-1, 4))
            if stage < len(self.box_heads):  # a cascade refines the boxes of the stage before
                if not head.reg_class_agnostic:
                    deltas = _gather_rows(deltas, scores[:, :-1].argmax(1, keepdim=True))
                boxes = _decode(head.bbox_coder, boxes, deltas[:, 0], border)
        boxes = _decode(head.bbox_coder, boxes[:, None].expand_as(deltas), deltas, border)
        return boxes, (total / len(self.box_heads)).softmax(-1)[:, :-1]

    def _best(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, P, 4), (N, C, P) -> boxes (N, M, 4), scores and labels (N, M)."""
        cfg = self.model.roi_head.test_cfg
        images, classes, proposals = scores.shape
        kept = torch.ops.convnext_mm.nms(
            boxes.flatten(0, 1),
            scores.flatten(0, 1),
            cfg.nms.iou_threshold,
            max(cfg.score_thr, 0.0),
        )
        best = kept.reshape(images, -1).topk(min(cfg.max_per_img, classes * proposals))
        found = best.values > 0
        labels = torch.where(found, best.indices // proposals, -1)
        return (
            _gather_rows(boxes.flatten(1, 2), best.indices) * found[..., None],
            best.values,
            labels,
        )

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """(N, M, 4), (N, M) -> (N, M, S, S)."""
        image_index = _image_index(boxes)
        boxes = boxes.flatten(0, 1)
        total = 0
        for head, extractor in zip(self.mask_heads, self.mask_extractors):
            cut = _cut_out(extractor, maps, boxes, image_index)
            total = total + run(head, cut).sigmoid()
        if not self.mask_heads[0].class_agnostic:
            total = _gather_rows(total, labels.clamp(min=0).reshape(-1, 1))
        return (total / len(self.mask_heads))[:, 0].unflatten(0, labels.shape)


def _cut_out(
    extractor: nn.Module, maps: Sequence[Tensor], boxes: Tensor, image_index: Tensor
) -> Tensor:
    """Cut boxes (R, 4) out of the feature maps: (R, C, S, S), each from the map for its size.

    The number of boxes of a map depends on values, which traced shapes may not. So each map cuts
    out all boxes; the boxes of other maps are empty there and cost almost nothing.
    """
    # As `map_roi_levels`, but without its logarithm: many boxes are exactly at a level's border.
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    side = side / extractor.finest_scale + 1e-6
    borders = [2**i for i in range(1, len(extractor.roi_layers))]
    level = sum(((side >= border).long() for border in borders), 0 * image_index)
    out = 0
    for i, layer in enumerate(extractor.roi_layers):
        here = level == i
        part = torch.ops.convnext_mm.roi_align(
            maps[i],
            boxes * here[:, None],
            image_index,
            layer.spatial_scale,
            layer.output_size[0],
            layer.sampling_ratio,
        )
        out = out + part * here[:, None, None, None]
    return out


def _decode(coder: DeltaXYWHBBoxCoder, boxes: Tensor, deltas: Tensor, border: Tensor) -> Tensor:
    """Apply deltas to boxes (..., 4) and clip them to the image."""
    moved = delta2bbox(boxes.reshape(-1, 4), deltas.reshape(-1, 4), coder.means, coder.stds)
    return torch.minimum(moved.clamp(min=0), border).reshape(deltas.shape)


def _by_anchor(x: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W) -> (N, H * W * A, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def _image_index(rows: Tensor) -> Tensor:
    """(N, M, ...) -> (N * M,), the index of the image that each row belongs to."""
    images = torch.arange(rows.shape[0], device=rows.device)
    return images[:, None].expand(rows.shape[:2]).flatten()


def _gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Gather rows: (N, R, ...) at (N, K) -> (N, K, ...)."""
    index = index.reshape(*index.shape, *[1] * (rows.ndim - 2))
    return rows.gather(1, index.expand(*index.shape[:2], *rows.shape[2:]))


def _as_list(modules: nn.Module) -> nn.ModuleList:
    return modules if isinstance(modules, nn.ModuleList) else nn.ModuleList([modules])


def _check(model: nn.Module) -> None:
    """Refuse a model that :class:`Detector` would compute differently from MMDetection."""
    refuse_unless(
        isinstance(model, TwoStageDetector) and model.with_rpn and model.with_roi_head,
        type(model).__name__,
    )
    rpn, roi_head = model.rpn_head, model.roi_head
    _check_kind('RPN head', rpn, dense_heads.RPNHead)
    _check_kind('RoI head', roi_head, roi_heads.StandardRoIHead, roi_heads.CascadeRoIHead)
    refuse_unless(rpn.use_sigmoid_cls, 'an RPN with softmax')
    refuse_unless(not roi_head.with_shared_head, 'a RoI head with a shared head')
    coders = [rpn.bbox_coder]
    extractors = [*_as_list(roi_head.bbox_roi_extractor)]
    for head in _as_list(roi_head.bbox_head):
        _check_kind('box head', head, *BOX_HEADS)
        refuse_unless(not head.custom_activation, f'{type(head.loss_cls).__name__} of a box head')
        coders.append(head.bbox_coder)
    if roi_head.with_mask:
        extractors += _as_list(roi_head.mask_roi_extractor)
        for head in _as_list(roi_head.mask_head):
            _check_kind('mask head', head, mask_heads.FCNMaskHead)
    for coder in coders:
        _check_kind('box coder', coder, DeltaXYWHBBoxCoder)
        refuse_unless(coder.clip_border and not coder.add_ctr_clamp, 'a box coder with clamps')
    for extractor in extractors:
        _check_kind('RoI extractor', extractor, roi_extractors.SingleRoIExtractor)
        layer = extractor.roi_layers[0]
        aligned = getattr(layer, 'aligned', False) and layer.pool_mode == 'avg'
        refuse_unless(aligned, f'{type(layer).__name__} that is not aligned or does not average')
    _check_test('rpn', rpn.test_cfg, ('nms_pre', 'max_per_img'))
    _check_test('rcnn', roi_head.test_cfg, ('max_per_img',))
    if roi_head.with_mask and roi_head.test_cfg.mask_thr_binary < 0:
        raise UserError(
            f'test_cfg.rcnn.mask_thr_binary={roi_head.test_cfg.mask_thr_binary} cannot be '
            'exported. The file outputs mask probabilities in any case, but the check compares '
            'masks: use --cfg-options model.test_cfg.rcnn.mask_thr_binary=0.5'
        )


def _check_kind(part: str, module: object, *kinds: type) -> None:
    # A subclass may compute something else.
    refuse_unless(type(module) in kinds, f'the {part} {type(module).__name__}')


def _check_test(name: str, cfg: dict, limits: Sequence[str]) -> None:
    nms = cfg.nms
    if nms.get('type', 'nms') != 'nms' or nms.keys() - {'type', 'iou_threshold', 'split_thr'}:
        raise UserError(
            f'test_cfg.{name}.nms={dict(nms)}: ONNX has plain NMS only, '
            "dict(type='nms', iou_threshold=...). To export with plain NMS, use --cfg-options "
            f'model.test_cfg.{name}.nms.type=nms; the detections then differ slightly from those '
            'of the config'
        )
    for key in limits:
        if (cfg.get(key) or 0) < 1:  # MMDetection then sets no limit
            raise UserError(
                f'test_cfg.{name}.{key}={cfg.get(key)}: ONNX needs a limit of 1 or more'
            )
