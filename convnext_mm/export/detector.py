"""Faster and Mask R-CNN and their cascades, with all that follows the convolutions, as one module.

MMDetection works image by image on lists of whatever length; here every step has a fixed number of
rows for each image, those without an object having the score 0, so that a batch stays a batch. The
layers are the model's own, the steps between them MMDetection's.
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
from convnext_mm.export.graphs import call, pad, refuse_unless

BOX_HEADS = (
    bbox_heads.ConvFCBBoxHead,
    bbox_heads.Shared2FCBBoxHead,
    bbox_heads.Shared4Conv1FCBBoxHead,
)


class Detector(nn.Module):
    """A two-stage detector of MMDetection.

    Raises:
        UserError: A part of it is of a kind that is not supported; the message names it.
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
        """(N, 3, H, W) -> the best `max_per_img` = M objects of each image, the best one first.

        Returns:
            Boxes (N, M, 4) as x1, y1, x2, y2 in pixels, scores (N, M), labels (N, M) and, from a
            model with masks, the probability (N, M, S, S) in each cell of the box to be of the
            object. Rows beyond the last object have the score 0 and the label -1.
        """
        height, width = image.shape[-2:]
        # What is padded is seen by the network, and no box reaches into it.
        border = torch.stack([torch.scalar_tensor(side) for side in (width, height)] * 2)
        processor = self.model.data_preprocessor
        image = pad(image, processor.pad_size_divisor, processor.pad_value)
        maps = call(self.model.extract_feat, image)
        proposals, real = self._propose(maps, border)
        of_image = _of_image(proposals)
        boxes, scores = self._classify(maps, proposals.flatten(0, 1), of_image, border)
        # (R, B, 4), (R, C) -> (N, C, P, 4), (N, C, P) with B boxes, for each class or for all
        scores = scores.unflatten(0, real.shape).mul(real[..., None]).mT
        boxes = boxes.unflatten(0, real.shape).transpose(1, 2).expand(*scores.shape, 4)
        boxes, scores, labels = self._best(boxes, scores)
        if not self.mask_heads:
            return boxes, scores, labels
        return boxes, scores, labels, self._masks(maps, boxes, labels)

    def _propose(self, maps: Sequence[Tensor], border: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, P, 4) that may hold an object, and (N, P), false for rows that only fill up."""
        head, cfg = self.model.rpn_head, self.model.rpn_head.test_cfg
        scores, deltas = call(head, maps)
        anchors = head.prior_generator.grid_priors(
            [score.shape[-2:] for score in scores], device=maps[0].device
        )
        levels = []
        for score, delta, anchor in zip(scores, deltas, anchors):
            score, delta = _by_anchor(score, 1).sigmoid(), _by_anchor(delta, 4)
            rows = torch.cat([score, delta, anchor.expand_as(delta)], dim=-1)
            rows = F.pad(rows, (0, 0, 0, cfg.nms_pre))  # there may be fewer
            levels.append(_take(rows, rows[..., 0].topk(cfg.nms_pre).indices))
        score, delta, anchor = torch.stack(levels, dim=1).split([1, 4, 4], dim=-1)
        boxes = _decode(head.bbox_coder, anchor, delta, border)
        large = (boxes[..., 2:] - boxes[..., :2] > cfg.get('min_bbox_size', -1)).all(-1)
        score = score[..., 0] * large
        kept = torch.ops.convnext_mm.nms(
            boxes.flatten(0, 1), score.flatten(0, 1), cfg.nms.iou_threshold, 0.0
        )
        kept = kept.reshape(boxes.shape[0], -1)
        best = kept.topk(min(cfg.max_per_img, cfg.nms_pre * len(levels)))
        return _take(boxes.flatten(1, 2), best.indices), best.values > 0

    def _classify(
        self, maps: Sequence[Tensor], boxes: Tensor, of_image: Tensor, border: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes (R, 4) -> boxes (R, 1 or classes, 4) and probabilities (R, classes)."""
        total = 0
        for stage, (head, extractor) in enumerate(zip(self.box_heads, self.box_extractors), 1):
            scores, deltas = call(head, _cut_out(extractor, maps, boxes, of_image))
            total = total + scores
            deltas = deltas.unflatten(1, (-1, 4))
            if stage < len(self.box_heads):  # each stage of a cascade starts from the last one's
                if not head.reg_class_agnostic:
                    deltas = _take(deltas, scores[:, :-1].argmax(1, keepdim=True))
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
        return _take(boxes.flatten(1, 2), best.indices) * found[..., None], best.values, labels

    def _masks(self, maps: Sequence[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """(N, M, 4), (N, M) -> (N, M, S, S)."""
        of_image = _of_image(boxes)
        boxes = boxes.flatten(0, 1)
        total = 0
        for head, extractor in zip(self.mask_heads, self.mask_extractors):
            cut = _cut_out(extractor, maps, boxes, of_image)
            total = total + call(head, cut).sigmoid()
        if not self.mask_heads[0].class_agnostic:
            total = _take(total, labels.clamp(min=0).reshape(-1, 1))
        return (total / len(self.mask_heads))[:, 0].unflatten(0, labels.shape)


def _cut_out(
    extractor: nn.Module, maps: Sequence[Tensor], boxes: Tensor, of_image: Tensor
) -> Tensor:
    """Boxes (R, 4) -> what is in them, (R, C, S, S), each from the map that fits its size.

    Every map gives all boxes, those of other maps as empty ones, which cost nothing: the number of
    boxes of a map would be a shape that depends on values.
    """
    # As `map_roi_levels` has it, without its logarithm: sides are often exactly at a border.
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    side = side / extractor.finest_scale + 1e-6
    level = sum(((side >= 2**i).long() for i in range(1, len(extractor.roi_layers))), 0 * of_image)
    out = 0
    for i, layer in enumerate(extractor.roi_layers):
        here = level == i
        part = torch.ops.convnext_mm.roi_align(
            maps[i],
            boxes * here[:, None],
            of_image,
            layer.spatial_scale,
            layer.output_size[0],
            layer.sampling_ratio,
        )
        out = out + part * here[:, None, None, None]
    return out


def _decode(coder: DeltaXYWHBBoxCoder, boxes: Tensor, deltas: Tensor, border: Tensor) -> Tensor:
    """(..., 4) boxes moved by deltas, inside the image."""
    moved = delta2bbox(boxes.reshape(-1, 4), deltas.reshape(-1, 4), coder.means, coder.stds)
    return torch.minimum(moved.clamp(min=0), border).reshape(deltas.shape)


def _by_anchor(x: Tensor, values: int) -> Tensor:
    """(N, A * values, H, W) -> (N, H * W * A, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def _of_image(rows: Tensor) -> Tensor:
    """(N, M, ...) -> (N * M,), the image that each row is of."""
    images = torch.arange(rows.shape[0], device=rows.device)
    return images[:, None].expand(rows.shape[:2]).flatten()


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """(N, R, ...) at (N, K) -> (N, K, ...)."""
    index = index.reshape(*index.shape, *[1] * (rows.ndim - 2))
    return rows.gather(1, index.expand(*index.shape[:2], *rows.shape[2:]))


def _as_list(modules: nn.Module) -> nn.ModuleList:
    return modules if isinstance(modules, nn.ModuleList) else nn.ModuleList([modules])


def _check(model: nn.Module) -> None:
    """Refuse what the module above does not do as MMDetection does."""
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
            f'test_cfg.rcnn.mask_thr_binary={roi_head.test_cfg.mask_thr_binary}: the file gives '
            'probabilities whatever it is, and they are compared as masks: with --cfg-options '
            'model.test_cfg.rcnn.mask_thr_binary=0.5 it is exported'
        )


def _check_kind(part: str, module: object, *kinds: type) -> None:
    # Not their subclasses: those do things in ways of their own.
    refuse_unless(type(module) in kinds, f'the {part} {type(module).__name__}')


def _check_test(name: str, cfg: dict, limits: Sequence[str]) -> None:
    nms = cfg.nms
    if nms.get('type', 'nms') != 'nms' or nms.keys() - {'type', 'iou_threshold', 'split_thr'}:
        raise UserError(
            f'test_cfg.{name}.nms={dict(nms)}: ONNX has no other than plain NMS, '
            "dict(type='nms', iou_threshold=...); with --cfg-options "
            f'model.test_cfg.{name}.nms.type=nms it is exported with that, and finds '
            'slightly other objects than the config as it is'
        )
    for key in limits:
        if (cfg.get(key) or 0) < 1:  # without one MMDetection takes all there are
            raise UserError(f'test_cfg.{name}.{key}={cfg.get(key)}: ONNX needs a limit, at least 1')
