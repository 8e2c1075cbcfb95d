"""Operators that detectors and segmentors need and PyTorch's exporter cannot translate to ONNX.

The operators have shapes but no implementation; the exporter only traces them, and `TRANSLATIONS`
says how each one is written in ONNX. The output length of ONNX's NonMaxSuppression depends on the
values. It stays inside a translation, so that all traced shapes depend on the image's shape alone.
"""

from __future__ import annotations

import torch
from onnxscript import opset18 as onnx
from torch import Tensor, nn

OPSET = 18

_LIBRARY = torch.library.Library('convnext_mm', 'DEF')
_LIBRARY.define(
    'roi_align(Tensor maps, Tensor boxes, Tensor image, float scale, int size, int samples)'
    ' -> Tensor'
)
_LIBRARY.define('nms(Tensor boxes, Tensor scores, float iou_thr, float score_thr) -> Tensor')


@torch.library.register_fake('convnext_mm::roi_align', lib=_LIBRARY)
def roi_align(maps, boxes, image, scale, size, samples):
    """Cut boxes out of feature maps: MMCV's RoIAlign with ``aligned=True`` and average pooling.

    Args:
        maps: (N, C, H, W).
        boxes: (R, 4), x1, y1, x2, y2 in pixels.
        image: (R,), the index of the image that a box belongs to.
        scale: The size of the maps relative to the image.
        size: Height and width of the output.
        samples: Sampling points per output cell and direction; 0 for one per pixel of the map.

    Returns:
        (R, C, size, size).
    """
    return maps.new_empty(boxes.shape[0], maps.shape[1], size, size)


@torch.library.register_fake('convnext_mm::nms', lib=_LIBRARY)
def nms(boxes, scores, iou_thr, score_thr):
    """Set the scores of suppressed boxes and scores up to `score_thr` to 0.

    Args:
        boxes: (G, N, 4), x1, y1, x2, y2. A box suppresses only boxes of its own group.
        scores: (G, N).
        iou_thr: A box suppresses boxes with a higher IoU and a lower score.
        score_thr: The score threshold.

    Returns:
        (G, N).
    """
    return torch.empty_like(scores)


def _roi_align_to_onnx(maps, boxes, image, scale, size, samples):
    return onnx.RoiAlign(
        maps,
        boxes,
        image,
        coordinate_transformation_mode='half_pixel',
        mode='avg',
        output_height=size,
        output_width=size,
        sampling_ratio=samples,
        spatial_scale=scale,
    )


def _nms_to_onnx(boxes, scores, iou_thr, score_thr):
    number = onnx.Shape(scores, start=1, end=2)
    found = onnx.NonMaxSuppression(  # (K, 3): group, class, box
        boxes,
        onnx.Unsqueeze(scores, onnx.Constant(value_ints=[1])),
        number,  # the limit of boxes per class; by default ONNX keeps none
        onnx.Constant(value_floats=[iou_thr]),
        onnx.Constant(value_floats=[score_thr]),
    )
    found = onnx.Gather(found, onnx.Constant(value_ints=[0, 2]), axis=1)
    return onnx.ScatterND(onnx.Mul(scores, 0.0), found, onnx.GatherND(scores, found))


TRANSLATIONS = {
    torch.ops.convnext_mm.roi_align.default: _roi_align_to_onnx,
    torch.ops.convnext_mm.nms.default: _nms_to_onnx,
}


class AdaptiveAvgPool2d(nn.Module):
    """``nn.AdaptiveAvgPool2d`` for maps of any size, as two matrix products.

    ONNX has no such operator. PyTorch's exporter replaces it by an average pooling with the kernel
    of the traced size, which gives wrong results for other sizes without an error.

    Args:
        size: Height and width of the output.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, size, size)."""
        rows, columns = (self._means(length, x) for length in x.shape[-2:])
        return rows @ x @ columns.mT

    def _means(self, length: int, x: Tensor) -> Tensor:
        """Return the (size, length) matrix that averages `length` values into `size` cells."""
        cells = torch.arange(self.size, device=x.device)[:, None]
        start, end = cells * length // self.size, -(-(cells + 1) * length // self.size)
        index = torch.arange(length, device=x.device)
        return ((index >= start) & (index < end)).to(x.dtype) / (end - start).to(x.dtype)
