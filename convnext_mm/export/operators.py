"""What detectors and segmentors need and PyTorch's exporter has no ONNX for.

The operators here have shapes and no values: they exist to be translated. What ONNX's
NonMaxSuppression finds has a length that depends on the values; it stays inside the translation,
so that all shapes of a graph follow from the image's.
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
    """MMCV's RoIAlign, `aligned` and averaging.

    Args:
        maps: (N, C, H, W).
        boxes: (R, 4), x1, y1, x2, y2 in pixels.
        image: (R,), which of the N images a box is of.
        scale: Of the maps to the image.
        size: Height and width of what is cut out.
        samples: In each direction of a cell; 0 for as many as there are pixels.

    Returns:
        (R, C, size, size).
    """
    return maps.new_empty(boxes.shape[0], maps.shape[1], size, size)


@torch.library.register_fake('convnext_mm::nms', lib=_LIBRARY)
def nms(boxes, scores, iou_thr, score_thr):
    """The scores, with 0 for those not above `score_thr` and those of suppressed boxes.

    Args:
        boxes: (G, N, 4), x1, y1, x2, y2. A box suppresses others of its group only.
        scores: (G, N).
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
        number,  # without it, ONNX keeps none
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

    ONNX has no such operator; PyTorch's exporter writes an average with the kernel that fits the
    traced size, wrong for others without a word.

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
        """(size, length): a row for each cell, with one over its length where it reaches."""
        cells = torch.arange(self.size, device=x.device)[:, None]
        start, end = cells * length // self.size, -(-(cells + 1) * length // self.size)
        at = torch.arange(length, device=x.device)
        return ((at >= start) & (at < end)).to(x.dtype) / (end - start).to(x.dtype)
