"""ConvNeXt as a backbone: an image in, one normalised map for each requested stage out.

Parameters have the names of the authors' code, so published checkpoints fit without renaming.
Source: facebookresearch/ConvNeXt, ``object_detection/mmdet/models/backbones/convnext.py``;
facebookresearch/ConvNeXt-V2, ``models/convnextv2.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convnext_mm.archs import Arch, resolve_arch
from convnext_mm.errors import SettingError
from convnext_mm.layers import GRN, NORM_EPS, V1_LAYER_SCALE, LayerNorm2d, drop_path
from convnext_mm.ops import (
    RECOMPUTE_LEVELS,
    convnext_block,
    eligible_params,
    resolve_recompute,
)
from convnext_mm.ops.convolution import Conv2d
from convnext_mm.stages import StagedBackbone, downsample, stem
from convnext_mm.weights.formats import to_backbone


class ConvNeXtBlock(nn.Module):
    """The residual block of ConvNeXt.

    7x7 depthwise convolution, LayerNorm, linear C -> 4C, GELU, (GRN in V2,) linear 4C -> C, (layer
    scale in V1,) stochastic depth, plus the input. Sources: figure 4 of the ConvNeXt paper, figure
    5 of the ConvNeXt V2 paper.

    Args:
        channels: Number of channels C.
        drop_path_rate: Probability that a sample skips the branch in training (stochastic depth).
        layer_scale_init_value: Initial value of the layer scale `gamma`; 0 builds none.
        grn: Whether the block has a Global Response Normalization after the GELU.
        recompute: Activation recomputation; see :class:`ConvNeXt`.
    """

    def __init__(
        self,
        channels: int,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = V1_LAYER_SCALE,
        grn: bool = False,
        recompute: str | None = None,
    ) -> None:
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.recompute = recompute
        self.dwconv = Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = GRN(4 * channels) if grn else None
        self.pwconv2 = nn.Linear(4 * channels, channels)
        if layer_scale_init_value:
            self.gamma = nn.Parameter(torch.full((channels,), float(layer_scale_init_value)))
        else:
            self.gamma = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W). A channels-last map is not copied."""
        drop_path_rate = self.drop_path_rate if self.training else 0.0
        recompute = resolve_recompute(self.recompute, x.device)
        if recompute != 'none':
            params = eligible_params(self, x, drop_path_rate)
            if params is not None:
                return convnext_block(x, params, self.norm.eps, drop_path_rate, recompute)
        if recompute == 'block' and torch.is_grad_enabled():
            return checkpoint(self._plain_forward, x, drop_path_rate, use_reentrant=False)
        return self._plain_forward(x, drop_path_rate)

    def _plain_forward(self, x: Tensor, drop_path_rate: float) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = F.gelu(self.pwconv1(y))
        if self.grn is not None:
            y = self.grn(y)
        y = self.pwconv2(y)
        if self.gamma is not None:
            y = y * self.gamma
        return x + drop_path(y, drop_path_rate).permute(0, 3, 1, 2)


@MODELS.register_module()
class ConvNeXt(StagedBackbone, BaseModule):
    """ConvNeXt V1 or V2 with a LayerNorm on each output, for MMDetection and MMSegmentation.

    The four stages have strides 4, 8, 16 and 32. Map sizes round down at each stride: an image of
    100x130 pixels gives maps of 25x32, 12x16, 6x8 and 3x4. As in the authors' code, the last rows
    and columns that do not fill a patch are ignored. Detectors pad their batches to multiples of 32
    (``pad_size_divisor=32``), so nothing is ignored there.

    Args:
        arch: A name in :data:`convnext_mm.ARCHS` (``tiny small base large xlarge``,
            ``v2_atto`` ... ``v2_huge``) or ``dict(depths=..., channels=..., grn=...)``.
        in_channels: Number of channels of the image.
        drop_path_rate: Stochastic depth rate of the last block, in [0, 1). The rate grows linearly
            from 0 at the first block.
        layer_scale_init_value: Initial layer scale; 0 turns it off. The default is 1e-6 for V1. V2
            has GRN instead, and no layer scale.
        out_indices: The stages to return, as an int or in increasing order. Negative numbers count
            from the last stage (-1). Stages after the last returned one are not built.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages with the
            downsampling layers between them. Frozen modules stay in eval mode. The output norms are
            not part of pretrained weights and are never frozen.
        output_norms: Whether each returned map has a LayerNorm, as a detector or segmentor needs. A
            classifier needs none, because :class:`convnext_mm.PooledNorm` stands behind it.
        with_cp: OpenMMLab's name for ``recompute='block'``.
        recompute: Activation recomputation: which activations each block computes again in the
            backward pass instead of keeping them.

            - ``'none'``: no activation. The block is plain PyTorch.
            - ``'pointwise'``: the cheap operations, which are all but the linear layers. A block
              keeps the input of its depthwise convolution and, with more than 128 channels, the
              input of its GELU. On a CPU this takes no more time than ``'none'``. On a GPU it also
              keeps the input of LayerNorm, and the input of every GELU.
            - ``'block'``: the whole block. It keeps its input only, and the backward pass takes the
              time of a forward pass more.
            - None, the default: ``'pointwise'`` on a CPU, ``'none'`` on every other device, because
              the others have not been measured on a GPU yet.

            A block with hooks or replaced layers (adapters, quantisation) runs as plain PyTorch,
            under ``'block'`` with :func:`torch.utils.checkpoint.checkpoint`. Bytes for each level:
            :mod:`convnext_mm.ops.block`.
        compile: Whether to compile the backbone with ``torch.compile``: one graph for images of any
            size and one for batches of one image, each compiled when it is first needed. A dict
            gives further arguments of ``torch.compile``, such as
            ``dict(mode='max-autotune-no-cudagraphs')``. The detector around the backbone is not
            compiled. Compiled blocks are plain PyTorch: ``recompute='block'`` still recomputes,
            ``'pointwise'`` has no effect, and samples that stochastic depth drops
            are computed.
        init_cfg: MMEngine initialisation config, such as
            ``dict(type='ConvNeXtPretrained', checkpoint='convnext_tiny_in1k')``. A config of
            MMEngine's ``Pretrained``, which ignores weights that do not fit, is replaced by
            ``ConvNeXtPretrained``, which finds the ``prefix`` itself. The default is the authors'
            random initialisation: a truncated normal distribution with a deviation of 0.02.

    Attributes:
        out_channels: Number of channels of each returned map.
        out_strides: Stride in pixels of each returned map.

    Raises:
        SettingError: An argument is out of range. The message names it and the allowed values.

    Sources: Liu et al., "A ConvNet for the 2020s", CVPR 2022; Woo et al., "ConvNeXt V2", CVPR 2023.
    """

    def __init__(
        self,
        arch: str | Mapping | Arch = 'tiny',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        output_norms: bool = True,
        with_cp: bool = False,
        recompute: str | None = None,
        compile: bool | Mapping = False,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
    ) -> None:
        super().__init__(
            arch=resolve_arch(arch),
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            init_cfg=_resolve_init_cfg(init_cfg),
        )
        recompute = _resolve_with_cp(recompute, with_cp)
        layer_scale = _resolve_layer_scale(layer_scale_init_value, self.arch)
        channels, grn = self.arch.channels, self.arch.grn

        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        for i, rates in enumerate(self.drop_path_rates()):
            self.downsample_layers.append(
                stem(in_channels, channels[0]) if i == 0 else downsample(*channels[i - 1 : i + 1])
            )
            blocks = (ConvNeXtBlock(channels[i], r, layer_scale, grn, recompute) for r in rates)
            self.stages.append(nn.Sequential(*blocks))
        for i in self.out_indices:
            norm = LayerNorm2d(channels[i], eps=NORM_EPS) if output_norms else nn.Identity()
            self.add_module(f'norm{i}', norm)
        self.finish()
        if compile:
            # Module.compile() works in place and keeps the parameter names, unlike torch.compile().
            self.compile(fullgraph=True, dynamic=True, **({} if compile is True else compile))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Load a state dict with the names of any known format.

        PyTorch and MMEngine call this method for each module. So ``Pretrained`` and a runner's
        ``load_from`` also read detectors with MMPretrain's names.
        """
        _rename_to_own_names(state_dict, prefix, dict(self.named_parameters()))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _resolve_init_cfg(init_cfg: Mapping | Sequence[Mapping] | None):
    """Replace ``Pretrained`` by ``ConvNeXtPretrained``, and move it to the end."""
    if init_cfg is None or isinstance(init_cfg, Mapping):
        entries = [init_cfg] if init_cfg else []
    else:
        entries = list(init_cfg)
    entries = [
        dict(type='ConvNeXtPretrained', checkpoint=entry['checkpoint'])
        if entry.get('type') in ('Pretrained', PretrainedInit)
        else entry
        for entry in entries
    ]
    # An initialisation after the pretrained weights would overwrite them.
    entries.sort(key=lambda entry: entry.get('type') == 'ConvNeXtPretrained')
    return entries if len(entries) > 1 else next(iter(entries), None)


def _rename_to_own_names(state_dict: dict, prefix: str, own: Mapping[str, Tensor]) -> None:
    """Rename the entries under a prefix in place, unless they fit `own` already."""
    given = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    if all(k in own and getattr(v, 'shape', None) == own[k].shape for k, v in given.items()):
        return
    try:
        # PyTorch passes only the entries under the prefix. MMEngine passes all entries, so `others`
        # may be the head of a classifier.
        others = [name for name in state_dict if not name.startswith(prefix)]
        is_classifier = others and all(name.startswith('head.') for name in others)
        state = to_backbone(given, part_of_model=bool(prefix) and not is_classifier)
    except ValueError:
        return  # not a ConvNeXt: the caller reports the missing keys
    for name in given.keys() - set(state.unused):
        del state_dict[prefix + name]
    tensors = dict(state.tensors)
    if state.loads_final_norm:
        tensors |= {f'norm3.{name}': value for name, value in state.final_norm.items()}
    state_dict.update({prefix + name: value for name, value in tensors.items()})


def _resolve_with_cp(recompute: str | None, with_cp: bool) -> str | None:
    if recompute is not None and recompute not in RECOMPUTE_LEVELS:
        raise SettingError(
            f'recompute={recompute!r} is unknown; allowed: {", ".join(RECOMPUTE_LEVELS)}'
        )
    if not with_cp:
        return recompute
    if recompute not in (None, 'block'):
        raise SettingError(
            f"with_cp=True means recompute='block', but recompute={recompute!r} is given; leave "
            'one of them out'
        )
    return 'block'


def _resolve_layer_scale(value: float | None, arch: Arch) -> float:
    if value is None:
        return 0.0 if arch.grn else V1_LAYER_SCALE
    if value < 0:
        raise SettingError(f'layer_scale_init_value={value!r} must be 0 (off) or positive')
    if value and arch.grn:
        raise SettingError(
            f'layer_scale_init_value={value!r} does not fit a V2 arch (grn=True): V2 has no layer '
            'scale, and it would multiply every pretrained residual branch; leave it out or give 0'
        )
    return float(value)
