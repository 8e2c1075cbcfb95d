"""Wrap backbones and segmentors as modules that map an image tensor to plain tensors."""

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
    """The backbone alone. Its outputs are named ``stride4`` ... ``stride32``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.outputs = tuple(f'stride{stride}' for stride in model.backbone.out_strides)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> a tuple of (N, C_i, H // s_i, W // s_i)."""
        return tuple(run(self.backbone, image))


class Segmentor(nn.Module):
    """An ``EncoderDecoder`` of MMSegmentation on whole images.

    Raises:
        UserError: The decode head has a prediction method of its own.
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
        model.auxiliary_head = None  # it is for training only
        for module in list(model.modules()):
            for name, child in module.named_children():
                if type(child) is nn.AdaptiveAvgPool2d and isinstance(child.output_size, int):
                    setattr(module, name, AdaptiveAvgPool2d(child.output_size))
        padding = model.data_preprocessor.test_cfg or {}
        refuse_unless(not padding.get('size'), 'padding of test images to a fixed size')
        self.divisor = padding.get('size_divisor') or 1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) -> class indices (N, H, W) and logits (N, classes, H, W)."""
        height, width = image.shape[-2:]
        image = pad(image, self.divisor, self.model.data_preprocessor.pad_val)
        head = self.model.decode_head
        logits = F.interpolate(
            run(head, run(self.model.extract_feat, image)),
            size=image.shape[-2:],
            mode='bilinear',
            align_corners=head.align_corners,
        )[..., :height, :width]
        if logits.shape[1] == 1:  # binary: foreground or background
            return (logits[:, 0].sigmoid() > head.threshold).long(), logits
        return logits.argmax(1), logits


def convert_to_fp16(model: nn.Module) -> None:
    """Merge batch norms into their convolutions, then convert all weights to fp16."""
    fuse_conv_bn(model)
    model.half()


def run(function: Callable, x: Tensor | Sequence[Tensor]) -> Any:
    """Call a module, or a method of one, in the dtype of its weights; return its outputs in fp32.

    Probabilities and box coordinates are computed from these outputs. The 11 significant bits of
    fp16 are too few for them.
    """
    module = getattr(function, '__self__', function)
    dtype = next(module.parameters()).dtype
    outputs = function(tree_map_only(Tensor, lambda tensor: tensor.to(dtype), x))
    return tree_map_only(Tensor, lambda tensor: tensor.float(), outputs)


def pad(image: Tensor, divisor: int, value: float) -> Tensor:
    """Pad height and width at the end to multiples of `divisor`, as the data preprocessors do."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % divisor, 0, -height % divisor), value=value)


def unsupported(what: str) -> UserError:
    """Return the error for a model, a module or a setting that cannot be exported."""
    return UserError(
        f'{what} cannot be exported; docs/export.md lists what can. --backbone exports the '
        'backbone alone'
    )


def refuse_unless(supported: bool, what: str) -> None:
    """Raise the error for `what` unless it is supported."""
    if not supported:
        raise unsupported(what)
