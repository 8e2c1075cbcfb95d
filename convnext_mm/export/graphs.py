"""Backbones and segmentors as modules that take an image and give plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from convnext_mm.errors import UserError
from convnext_mm.export.operators import AdaptiveAvgPool2d


class Backbone(nn.Module):
    """The backbone alone; its maps are named by their strides: ``stride4`` ... ``stride32``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.outputs = tuple(f'stride{stride}' for stride in model.backbone.out_strides)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> (N, C_i, H // s_i, W // s_i) each."""
        return tuple(call(self.backbone, image))


class Segmentor(nn.Module):
    """An ``EncoderDecoder`` of MMSegmentation on whole images.

    Raises:
        UserError: It has a decode head that does more than give a score for each class and cell.
    """

    outputs = ('labels', 'logits')

    def __init__(self, model: nn.Module) -> None:
        from mmseg.models.decode_heads.decode_head import BaseDecodeHead
        from mmseg.models.segmentors import EncoderDecoder

        super().__init__()
        refuse_unless(type(model) is EncoderDecoder, type(model).__name__)
        head = model.decode_head
        for method in ('predict', 'predict_by_feat'):
            stock = getattr(type(head), method, None) is getattr(BaseDecodeHead, method)
            refuse_unless(stock, f'the decode head {type(head).__name__}')
        self.model = model
        model.auxiliary_head = None  # only trains
        for module in list(model.modules()):
            for name, child in module.named_children():
                if type(child) is nn.AdaptiveAvgPool2d and isinstance(child.output_size, int):
                    setattr(module, name, AdaptiveAvgPool2d(child.output_size))
        padding = model.data_preprocessor.test_cfg or {}
        refuse_unless(not padding.get('size'), 'padding of test images to one size')
        self.divisor = padding.get('size_divisor') or 1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> the class of each pixel, (N, H, W), and scores, (N, classes, H, W)."""
        height, width = image.shape[-2:]
        image = pad(image, self.divisor, self.model.data_preprocessor.pad_val)
        head = self.model.decode_head
        logits = F.interpolate(
            call(head, call(self.model.extract_feat, image)),
            size=image.shape[-2:],
            mode='bilinear',
            align_corners=head.align_corners,
        )[..., :height, :width]
        if logits.shape[1] == 1:  # of one class and its absence
            return (logits[:, 0].sigmoid() > head.threshold).long(), logits
        return logits.argmax(1), logits


def halve(model: nn.Module) -> None:
    """Half precision for all weights but those of BN, which become a part of the convolutions'."""
    fuse_conv_bn(model)
    model.half()


def call(part: Callable, x: Tensor | Sequence[Tensor]) -> Any:
    """Run a part of a model in the precision of its weights, and give what it gives in fp32.

    Between the parts, scores become probabilities and boxes coordinates: fp16 has no more than 11
    bits for either.
    """
    module = getattr(part, '__self__', part)  # of a method
    dtype = next(module.parameters()).dtype
    narrow, wide = (lambda x: x.to(dtype)), (lambda x: x.float())
    return tree_map_only(Tensor, wide, part(tree_map_only(Tensor, narrow, x)))


def pad(image: Tensor, divisor: int, value: float) -> Tensor:
    """Pad below and to the right to a multiple, as the data preprocessors do."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % divisor, 0, -height % divisor), value=value)


def refusal(part: str) -> UserError:
    return UserError(
        f'{part} cannot be exported: it has no ONNX form here (docs/export.md says what has); '
        '--backbone exports the backbone alone'
    )


def refuse_unless(supported: bool, part: str) -> None:
    if not supported:
        raise refusal(part)
