"""A backbone of four stages: its outputs, its frozen stages and its layer ids.

ConvNeXt and the networks of :mod:`convnext_mm.roadmap` share this part. Each of them builds its own
layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from convnext_mm import layer_decay
from convnext_mm.archs import NUM_STAGES, Arch
from convnext_mm.errors import SettingError
from convnext_mm.layers import NORM_EPS, LayerNorm2d
from convnext_mm.ops.convolution import Conv2d

STEM_STRIDE = 4


class StagedBackbone:
    """A stem and four stages with strides 4, 8, 16 and 32, and one map for each requested stage.

    A backbone inherits from this class and from MMEngine's BaseModule. This module does not import
    MMEngine, see :mod:`convnext_mm.registration`.

    A subclass builds ``downsample_layers``, ``stages`` and ``norm{i}`` for each of the
    `out_indices`, and then calls :meth:`finish`. The first of ``downsample_layers`` is the stem.

    Args:
        arch: The depths and output channels of the stages.
        in_channels: Number of channels of the image.
        drop_path_rate: Stochastic depth rate of the last block, in [0, 1).
        out_indices: The stages to return, as an int or in increasing order. Negative numbers count
            from the last stage (-1). Stages after the last returned one are not built.
        frozen_stages: -1 freezes nothing, 0 the stem, k the stem and the first k stages with the
            downsampling layers between them. Frozen modules stay in eval mode. The output norms are
            never frozen.
        init_cfg: MMEngine initialisation config.

    Attributes:
        out_channels: Number of channels of each returned map.
        out_strides: Stride in pixels of each returned map.

    Raises:
        SettingError: An argument is out of range. The message names it and the allowed values.
    """

    def __init__(
        self,
        *,
        arch: Arch,
        in_channels: int,
        drop_path_rate: float,
        out_indices: int | Sequence[int],
        frozen_stages: int,
        init_cfg: Mapping | Sequence[Mapping] | None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.arch = arch
        self.out_indices = _resolve_out_indices(out_indices)
        self.in_channels = in_channels
        self.drop_path_rate = drop_path_rate
        self.frozen_stages = frozen_stages
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
        self.out_channels = tuple(arch.channels[i] for i in self.out_indices)
        self.out_strides = tuple(STEM_STRIDE * 2**i for i in self.out_indices)

    def drop_path_rates(self) -> list[list[float]]:
        """Return the stochastic depth rate of each block of each stage to build.

        The rate grows linearly over all four stages, from 0 in the first block.
        """
        depths = self.arch.depths
        last_block = max(sum(depths) - 1, 1)
        return [
            [self.drop_path_rate * (sum(depths[:i]) + b) / last_block for b in range(depths[i])]
            for i in range(self.out_indices[-1] + 1)
        ]

    def finish(self) -> None:
        """Initialise the layers as the authors do, and freeze the frozen stages."""
        self.apply(_init_weights)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train()

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

    def train(self, mode: bool = True) -> StagedBackbone:
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


def stem(in_channels: int, channels: int) -> nn.Sequential:
    """The stem: 4x4 convolution with stride 4, then LayerNorm."""
    return nn.Sequential(
        Conv2d(in_channels, channels, kernel_size=STEM_STRIDE, stride=STEM_STRIDE),
        LayerNorm2d(channels, eps=NORM_EPS),
    )


def downsample(in_channels: int, channels: int) -> nn.Sequential:
    """The layers before stages 1, 2 and 3: LayerNorm, then 2x2 convolution with stride 2."""
    return nn.Sequential(
        LayerNorm2d(in_channels, eps=NORM_EPS),
        Conv2d(in_channels, channels, kernel_size=2, stride=2),
    )


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
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
