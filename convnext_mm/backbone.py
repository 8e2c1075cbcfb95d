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

from convnext_mm import layer_decay
from convnext_mm.archs import NUM_STAGES, Arch, resolve_arch
from convnext_mm.errors import SettingError
from convnext_mm.layers import GRN, LayerNorm2d, drop_path
from convnext_mm.ops import (
    RECOMPUTE_LEVELS,
    convnext_block,
    eligible_params,
    resolve_recompute,
)
from convnext_mm.ops.convolution import Conv2d
from convnext_mm.weights.formats import to_backbone

NORM_EPS = 1e-6
STEM_STRIDE = 4
# The value of the paper. A pretrained checkpoint overwrites it.
V1_LAYER_SCALE = 1e-6


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
class ConvNeXt(BaseModule):
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
        with_cp: bool = False,
        recompute: str | None = None,
        compile: bool | Mapping = False,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
    ) -> None:
        super().__init__(init_cfg=_resolve_init_cfg(init_cfg))
        self.arch = resolve_arch(arch)
        self.out_indices = _resolve_out_indices(out_indices)
        self.in_channels = in_channels
        self.frozen_stages = frozen_stages
        recompute = _resolve_with_cp(recompute, with_cp)
        if type(in_channels) is not int or in_channels < 1:
            raise SettingError(f'in_channels={in_channels!r} must be a positive integer')
        if not 0.0 <= drop_path_rate < 1.0:
            raise SettingError(f'drop_path_rate={drop_path_rate!r} must be in [0, 1)')
        num_stages = self.out_indices[-1] + 1
        if type(frozen_stages) is not int or not -1 <= frozen_stages <= num_stages:
            raise SettingError(
                f'frozen_stages={frozen_stages!r} must be -1 (none), 0 (the stem) or up to '
                f'{num_stages}, the number of stages that out_indices={self.out_indices} needs'
            )
        layer_scale = _resolve_layer_scale(layer_scale_init_value, self.arch)

        channels = self.arch.channels
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        self.out_strides = tuple(STEM_STRIDE * 2**i for i in self.out_indices)

        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        last_block = sum(self.arch.depths) - 1
        block = 0
        for i in range(num_stages):
            self.downsample_layers.append(
                _stem(in_channels, channels[0]) if i == 0 else _downsample(*channels[i - 1 : i + 1])
            )
            blocks = []
            for _ in range(self.arch.depths[i]):
                rate = drop_path_rate * block / max(last_block, 1)
                blocks.append(
                    ConvNeXtBlock(channels[i], rate, layer_scale, self.arch.grn, recompute)
                )
                block += 1
            self.stages.append(nn.Sequential(*blocks))
        for i in self.out_indices:
            self.add_module(f'norm{i}', LayerNorm2d(channels[i], eps=NORM_EPS))

        self.apply(_init_weights)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train()
        if compile:
            # Module.compile() works in place and keeps the parameter names, unlike torch.compile().
            self.compile(fullgraph=True, dynamic=True, **({} if compile is True else compile))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps: (N, in_channels, H, W) -> one (N, C_i, H/s_i, W/s_i) for each output.

        C_i and s_i are the `out_channels` and `out_strides`. H and W must be at least the last
        stride. The maps are contiguous in NCHW order, because MMCV's RoIAlign ignores strides.

        Raises:
            ValueError: The image has another number of channels, or is smaller than the last
                stride.
        """
        self._check_image(x)
        # In channels-last memory the permutes around LayerNorm and the linear layers are views.
        x = x.contiguous(memory_format=torch.channels_last)
        outs = []
        for i, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages)):
            x = stage(downsample(x))
            if i in self.out_indices:
                outs.append(getattr(self, f'norm{i}')(x).contiguous())
        return tuple(outs)

    def train(self, mode: bool = True) -> ConvNeXt:
        """Set training or eval mode. Frozen modules stay in eval mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def layer_id(self, name: str, decay_type: str) -> int:
        """Return the layer id of a parameter; see :mod:`convnext_mm.layer_decay`.

        Args:
            name: The parameter name within this backbone.
            decay_type: ``'layer_wise'`` or ``'stage_wise'``.
        """
        return layer_decay.layer_id(name, self.arch.depths, decay_type)

    def num_layers(self) -> int:
        """Return N; the layer ids go from 0 (the stem) to N + 1 (the heads)."""
        return layer_decay.num_layers(self.arch.depths)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the layer id of a parameter and the number of ids.

        MMPretrain's layer decay calls this method.

        Args:
            param_name: The parameter name in the whole model.
            prefix: The prefix of this backbone's parameters, such as ``backbone.``. Names without
                it count as parameters of the heads.
        """
        heads = self.num_layers() + 1
        if not param_name.startswith(prefix):
            return heads, heads + 1
        return self.layer_id(param_name.removeprefix(prefix), 'layer_wise'), heads + 1

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Load a state dict with the names of any known format.

        PyTorch and MMEngine call this method for each module. So ``Pretrained`` and a runner's
        ``load_from`` also read detectors with MMPretrain's names.
        """
        _rename_to_own_names(state_dict, prefix, dict(self.named_parameters()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        # The first downsampling layer is the stem.
        k = self.frozen_stages
        return [*self.downsample_layers[: max(k, 1)], *self.stages[:k]]

    def _check_image(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'the image has shape {tuple(x.shape)}, expected (N, {self.in_channels}, H, W) '
                f'because in_channels={self.in_channels}'
            )
        # `min` would compare the two sides, and torch.export could not keep both of them dynamic.
        if any(side < self.out_strides[-1] for side in x.shape[-2:]):
            raise ValueError(
                f'the image has {x.shape[-2]}x{x.shape[-1]} pixels, expected at least '
                f'{self.out_strides[-1]} on each side, the stride of the last map'
            )


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    """The stem: 4x4 convolution with stride 4, then LayerNorm."""
    return nn.Sequential(
        Conv2d(in_channels, channels, kernel_size=STEM_STRIDE, stride=STEM_STRIDE),
        LayerNorm2d(channels, eps=NORM_EPS),
    )


def _downsample(in_channels: int, channels: int) -> nn.Sequential:
    """The layers before stages 1, 2 and 3: LayerNorm, then 2x2 convolution with stride 2."""
    return nn.Sequential(
        LayerNorm2d(in_channels, eps=NORM_EPS),
        Conv2d(in_channels, channels, kernel_size=2, stride=2),
    )


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


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


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


def _resolve_out_indices(out_indices: int | Sequence[int]) -> tuple[int, ...]:
    given = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    if not given or not all(type(i) is int and -NUM_STAGES <= i < NUM_STAGES for i in given):
        raise SettingError(
            f'out_indices={out_indices!r} must name at least one stage, each from '
            f'{-NUM_STAGES} to {NUM_STAGES - 1}'
        )
    resolved = tuple(i % NUM_STAGES for i in given)
    if list(resolved) != sorted(set(resolved)):
        raise SettingError(
            f'out_indices={out_indices!r} must be increasing and name each stage once; '
            f'it names {resolved}'
        )
    return resolved


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
