"""ConvNeXt as a backbone: image in, one normed map per requested stage out.

Parameter names are the authors', so published checkpoints fit without renaming.
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
from convnext_mm.ops import LEAN_LEVELS, BlockParams, convnext_block
from convnext_mm.ops.convolution import Conv2d
from convnext_mm.weights.formats import to_backbone

NORM_EPS = 1e-6
STEM_STRIDE = 4
# The paper's V1 value. A fine-tuning recipe may state another; the checkpoint overwrites it.
V1_LAYER_SCALE = 1e-6
_HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise conv, LayerNorm, C -> 4C linear, GELU, (GRN,) 4C -> C linear, (layer scale).

    Paper: figure 4 (V1), figure 5 of ConvNeXt V2 (GRN).

    Args:
        channels: Number of channels C.
        drop_path_rate: Probability of dropping the residual branch of a sample in training.
        layer_scale_init_value: Initial value of the per-channel scale; 0 builds none.
        grn: Whether to normalise responses after the GELU.
        lean: How little is kept for the backward pass; see :class:`ConvNeXt`.
    """

    def __init__(
        self,
        channels: int,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = V1_LAYER_SCALE,
        grn: bool = False,
        lean: str = 'elementwise',
    ) -> None:
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.lean = lean
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
        """(N, C, H, W) -> (N, C, H, W), free of copies when `x` is channels-last in memory."""
        rate = self.drop_path_rate if self.training else 0.0
        if self.lean != 'off' and not _is_traced():
            params = self._params()
            if params and _are_ordinary(x, *params) and not _is_captured(x, rate):
                return convnext_block(x, params, self.norm.eps, rate, self.lean)
        if self.lean == 'block' and torch.is_grad_enabled():
            return checkpoint(self._plain, x, rate, use_reentrant=False)
        return self._plain(x, rate)

    def _plain(self, x: Tensor, drop_path_rate: float) -> Tensor:
        """The block as the paper has it, in plain operations."""
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = F.gelu(self.pwconv1(y))
        if self.grn is not None:
            y = self.grn(y)
        y = self.pwconv2(y)
        if self.gamma is not None:
            y = y * self.gamma
        return x + drop_path(y, drop_path_rate).permute(0, 3, 1, 2)

    def _params(self) -> BlockParams | None:
        """The parameters; None unless the layers are as they were built: no adapters, no hooks."""
        layers = self._modules  # by the attributes it would be a tenth of the time of a small block
        dwconv, norm = layers['dwconv'], layers['norm']
        pwconv1, grn, pwconv2 = layers['pwconv1'], self.grn, layers['pwconv2']
        if not (
            _is_untouched(dwconv, Conv2d, nn.Conv2d)
            and _is_untouched(norm, nn.LayerNorm)
            and _is_untouched(pwconv1, nn.Linear)
            and _is_untouched(pwconv2, nn.Linear)
            and (grn is None or _is_untouched(grn, GRN))
            and dwconv.groups == dwconv.in_channels == dwconv.out_channels
            and dwconv.kernel_size == (7, 7)
            and dwconv.stride == (1, 1)
            and dwconv.padding == (3, 3)
            and dwconv.dilation == (1, 1)
            and dwconv.padding_mode == 'zeros'
        ):
            return None
        return BlockParams(
            dwconv.weight,
            dwconv.bias,
            norm.weight,
            norm.bias,
            pwconv1.weight,
            pwconv1.bias,
            None if grn is None else grn.gamma,
            None if grn is None else grn.beta,
            pwconv2.weight,
            pwconv2.bias,
            self.gamma,
        )


def _is_untouched(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    return (
        type(layer) in kinds
        and 'forward' not in vars(layer)
        and getattr(layer, 'bias', layer) is not None
        and not any(getattr(layer, hooks) for hooks in _HOOKS)
    )


def _are_ordinary(*tensors: Tensor | None) -> bool:
    """Whether all have memory of their own; fake, quantised and distributed ones are subclasses."""
    return all(t is None or type(t) in (Tensor, nn.Parameter) for t in tensors)


def _is_captured(x: Tensor, drop_path_rate: float) -> bool:
    """Whether a CUDA graph is made, which would repeat one draw of the samples to drop for ever."""
    return bool(drop_path_rate) and x.is_cuda and torch.cuda.is_current_stream_capturing()


def _is_traced() -> bool:
    """Whether plain operations are wanted: by compilers, which fuse them, and by torch.func."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


@MODELS.register_module()
class ConvNeXt(BaseModule):
    """ConvNeXt V1 or V2 with a LayerNorm on each output, for MMDetection and MMSegmentation.

    The four stages have strides 4, 8, 16 and 32. Each stride rounds down: a (N, 3, 100, 130)
    image gives maps of 25x32, 12x16, 6x8 and 3x4, the last rows and columns that do not fill a
    patch being left out, as in the authors' code. Detectors pad their batches to multiples of 32
    (``pad_size_divisor=32``), where nothing is left out.

    Args:
        arch: A name of :data:`convnext_mm.ARCHS` (``tiny small base large xlarge``,
            ``v2_atto`` ... ``v2_huge``) or ``dict(depths=..., channels=..., grn=...)``.
        in_channels: Channels of the image.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0 at the first.
        layer_scale_init_value: Initial layer scale; 0 turns it off. By default 1e-6 for V1 and
            off for V2, whose GRN replaces it.
        out_indices: Stages to return, counted from the first (0) or, if negative, from the last
            (-1); an int or increasing indices. Stages after the last one returned are not built.
        frozen_stages: -1 trains everything, 0 freezes the stem, k the stem and the first k
            stages with the downsampling between them. Frozen parts stay in eval mode. The output
            norms are no part of pretrained weights and always train.
        with_cp: The same as ``lean='block'``, under OpenMMLab's name.
        lean: How little each block keeps for the backward pass. ``'elementwise'``: what goes into
            the depthwise convolution and, with more than 128 channels, into the GELU; the rest is
            computed again, which costs no time on a CPU. ``'block'``: its input alone. ``'off'``:
            what plain torch operations keep, for hooks on a block's layers to be called; layers
            with hooks, or others in their place, make a block plain by themselves. Bytes for each:
            :mod:`convnext_mm.ops.block`.
        compile: Whether ``torch.compile`` is to make one graph of the backbone, for images of any
            size, and one for batches of one, when they first come; a dict has further arguments
            for it, such as ``dict(mode='max-autotune-no-cudagraphs')``. Detectors around it do not
            compile.
            Compiled blocks are plain: `lean` then only matters as ``'block'``, which recomputes,
            and samples that stochastic depth drops are computed.
        init_cfg: MMEngine initialisation config, such as
            ``dict(type='ConvNeXtPretrained', checkpoint='convnext_tiny_in1k')``. MMEngine's
            ``Pretrained``, which logs what does not fit and goes on, is taken for that; its
            ``prefix`` is found without being told. By default the authors' random initialisation
            (truncated normal with a deviation of 0.02).

    Attributes:
        out_channels: Channels of each returned map.
        out_strides: Stride of each returned map with respect to the image.

    Raises:
        SettingError: An argument is out of range; the message names it and what is allowed.
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
        lean: str = 'elementwise',
        compile: bool | Mapping = False,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
    ) -> None:
        super().__init__(init_cfg=_checked_loading(init_cfg))
        self.arch = resolve_arch(arch)
        self.out_indices = _resolve_out_indices(out_indices)
        self.in_channels = in_channels
        self.frozen_stages = frozen_stages
        if lean not in LEAN_LEVELS:
            raise SettingError(f'lean={lean!r} is unknown; allowed: {", ".join(LEAN_LEVELS)}')
        lean = 'block' if with_cp else lean
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
                blocks.append(ConvNeXtBlock(channels[i], rate, layer_scale, self.arch.grn, lean))
                block += 1
            self.stages.append(nn.Sequential(*blocks))
        for i in self.out_indices:
            self.add_module(f'norm{i}', LayerNorm2d(channels[i], eps=NORM_EPS))

        self.apply(_init_weights)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train()
        if compile:
            # In place, so that parameters keep their names. Copies are not compiled.
            self.compile(fullgraph=True, dynamic=True, **({} if compile is True else compile))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, in_channels, H, W) with H, W >= the last stride -> one (N, C_i, H/s_i, W/s_i) each.

        The maps are NCHW-contiguous: MMCV's RoIAlign reads memory in that order whatever the
        strides say.

        Raises:
            ValueError: The image has another number of channels or is smaller than one cell of
                the last map.
        """
        self._check_image(x)
        # Channels-last memory makes the permutes around LayerNorm and the linears views.
        x = x.contiguous(memory_format=torch.channels_last)
        outs = []
        for i, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages)):
            x = stage(downsample(x))
            if i in self.out_indices:
                outs.append(getattr(self, f'norm{i}')(x).contiguous())
        return tuple(outs)

    def train(self, mode: bool = True) -> ConvNeXt:
        """Set the mode of everything but the frozen parts, which stay in eval mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def layer_id(self, name: str, decay_type: str) -> int:
        """Layer id of one of this backbone's parameters; see :mod:`convnext_mm.layer_decay`."""
        return layer_decay.layer_id(name, self.arch.depths, decay_type)

    def num_layers(self) -> int:
        """The N of the layer ids: parameters of the heads have id N + 1."""
        return layer_decay.num_layers(self.arch.depths)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Layer id of a parameter and the number of ids, as MMPretrain's layer decay asks for them.

        Args:
            param_name: The parameter's name in the whole model.
            prefix: What the names of this backbone's parameters begin with, such as ``backbone.``;
                a name that does not is taken for a head's.
        """
        heads = self.num_layers() + 1
        if not param_name.startswith(prefix):
            return heads, heads + 1
        return self.layer_id(param_name.removeprefix(prefix), 'layer_wise'), heads + 1

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Take a state dict under this backbone's names or those of any other known format.

        PyTorch and MMEngine load each module by this method, so MMEngine's ``Pretrained`` and a
        runner's ``load_from`` read a detector with MMPretrain's names as well as ours.
        """
        _rename_to_ours(state_dict, prefix, dict(self.named_parameters()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        # The stem alone, or the stem and k stages, each with the downsampling in front of it.
        k = self.frozen_stages
        return [*self.downsample_layers[: max(k, 1)], *self.stages[:k]]

    def _check_image(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'the image has shape {tuple(x.shape)}, expected (N, {self.in_channels}, H, W) '
                f'because in_channels={self.in_channels}'
            )
        # Not `min`, which compares the sides: an exporter could then not leave both of them open.
        if any(side < self.out_strides[-1] for side in x.shape[-2:]):
            raise ValueError(
                f'the image of {x.shape[-2]}x{x.shape[-1]} pixels is smaller than the last '
                f"map's stride, {self.out_strides[-1]}"
            )


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    """Patchify: 4x4 conv with stride 4, then LayerNorm."""
    return nn.Sequential(
        Conv2d(in_channels, channels, kernel_size=STEM_STRIDE, stride=STEM_STRIDE),
        LayerNorm2d(channels, eps=NORM_EPS),
    )


def _downsample(in_channels: int, channels: int) -> nn.Sequential:
    """LayerNorm, then 2x2 conv with stride 2."""
    return nn.Sequential(
        LayerNorm2d(in_channels, eps=NORM_EPS),
        Conv2d(in_channels, channels, kernel_size=2, stride=2),
    )


def _checked_loading(init_cfg: Mapping | Sequence[Mapping] | None):
    """An init_cfg with ``ConvNeXtPretrained`` for MMEngine's ``Pretrained``, and at the end."""
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
    # What comes after weights would overwrite them.
    entries.sort(key=lambda entry: entry.get('type') == 'ConvNeXtPretrained')
    return entries if len(entries) > 1 else next(iter(entries), None)


def _rename_to_ours(state_dict: dict, prefix: str, own: Mapping[str, Tensor]) -> None:
    """Rename, in place, what is under a prefix; what fits `own` already stays as it is."""
    given = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
    if all(k in own and getattr(v, 'shape', None) == own[k].shape for k, v in given.items()):
        return
    try:
        # PyTorch shows no more than what is under the prefix, MMEngine a classifier's head as well.
        beside = [name for name in state_dict if not name.startswith(prefix)]
        classifier = beside and all(name.startswith('head.') for name in beside)
        state = to_backbone(given, part_of_model=bool(prefix) and not classifier)
    except ValueError:
        return  # no ConvNeXt: the caller reports what is missing
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
            f'layer_scale_init_value={value!r} with a V2 arch (grn=True): V2 has no layer scale, '
            'and one would multiply every pretrained residual branch by it; leave it out or give 0'
        )
    return float(value)
