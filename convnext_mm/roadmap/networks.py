"""The networks of the roadmap: one block and one backbone, configured by the settings of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from convnext_mm.archs import NUM_STAGES, Arch
from convnext_mm.errors import SettingError
from convnext_mm.layers import NORM_EPS, V1_LAYER_SCALE, LayerNorm2d, drop_path
from convnext_mm.roadmap.steps import Settings, resolve_settings
from convnext_mm.stages import STEM_STRIDE, StagedBackbone, downsample

EXPANSION = 4  # wide channels of a block / narrow channels


class RoadmapBlock(nn.Module):
    """The residual block of all networks of the roadmap.

    ::

        bottleneck              inverted                depthwise_first
        x (C)                   x (C)                   x (C)
        |  pwconv1  C -> w      |  pwconv1  C -> 4w     |  dwconv   k x k at C
        |  conv     k x k at w  |  dwconv   k x k at 4w |  pwconv1  C -> 4w
        |  pwconv2  w -> 4w     |  pwconv2  4w -> w     |  pwconv2  4w -> w
        +- add shortcut(x)      +- add shortcut(x)      +- add shortcut(x)

    The settings say where norms and activations stand. The shortcut is a 1x1 convolution where the
    shape changes. Layer scale and stochastic depth end the branch, as in ConvNeXt. The parameters
    of the last step have the names of :class:`convnext_mm.ConvNeXtBlock`.

    Args:
        settings: The settings of the step.
        in_channels: Number of channels C of the input.
        width: Width w of the stage.
        stride: Stride of the k x k convolution and of the shortcut.
        drop_path_rate: Probability that a sample skips the branch in training.
        layer_scale: Initial value of the layer scale; 0 builds none.
    """

    def __init__(
        self,
        settings: Settings,
        in_channels: int,
        width: int,
        stride: int,
        drop_path_rate: float,
        layer_scale: float,
    ) -> None:
        super().__init__()
        self.drop_path_rate = drop_path_rate
        layers = dict(_branch(settings, in_channels, width, stride))
        self.branch = tuple(layers)  # A Sequential would put its own name before their names.
        for name, layer in layers.items():
            self.add_module(name, layer)
        channels = block_channels(settings, width)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale)) if layer_scale else None
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                *_conv_norm(settings, in_channels, channels, 1, stride, settings.norms == 'all')
            )
        self.last_activation = nn.Identity()
        if settings.activations == 'all':
            self.last_activation = settings.activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride), rounded up."""
        y = x
        for name in self.branch:
            y = getattr(self, name)(y)
        if self.gamma is not None:
            y = y * self.gamma[:, None, None]
        y = drop_path(y, self.drop_path_rate if self.training else 0.0)
        return self.last_activation(self.shortcut(x) + y)


@MODELS.register_module()
class Roadmap(StagedBackbone, BaseModule):
    """The network of one step of the roadmap from ResNet to ConvNeXt.

    .. code-block:: python

        backbone = dict(type='convnext_mm.Roadmap', step='patchify_stem')

    The first step is ResNet-50 or ResNet-200, and gives the same maps as torchvision's with the
    same weights. The last step is ConvNeXt-T or ConvNeXt-B with the parameter names of
    :class:`convnext_mm.ConvNeXt` and a LayerNorm on each output. The maps of the other steps are
    the outputs of their stages without a further norm, as in ResNet.

    The last step rounds map sizes down at each stride. The others round them up, except in the
    patchify stem.

    The paper leaves some details open, and the published FLOPs do not depend on them. Here,
    ``fewer_activations`` also removes the activation of the stem. ``fewer_norms`` also removes the
    norms of the stem and of the shortcuts. A convolution has a bias unless a BatchNorm follows.

    Args:
        step: A name in :data:`convnext_mm.roadmap.STEPS`.
        track: ``'resnet50'`` or ``'resnet200'``, the network of the first step.
        width: Width of the first stage of the last step, 96 or 128 by default. The widths of all
            steps change by the same factor, and are rounded.
        depths: Number of blocks in each stage, by default as in the paper.
        in_channels: Number of channels of the image.
        drop_path_rate: As for :class:`convnext_mm.ConvNeXt`.
        layer_scale_init_value: Initial layer scale; 0 turns it off. The default is 1e-6 in the last
            step, as in ConvNeXt, and 0 in the others, so that the first is ResNet.
        out_indices: As for :class:`convnext_mm.ConvNeXt`.
        frozen_stages: As for :class:`convnext_mm.ConvNeXt`.
        output_norms: As for :class:`convnext_mm.ConvNeXt`; only the last step has such norms.
        norm_eval: Whether BatchNorms keep their mean and variance in training.
        init_cfg: MMEngine initialisation config. The last step also takes ``ConvNeXtPretrained``.
            The default is the initialisation of ConvNeXt.

    Attributes:
        settings: The :class:`~convnext_mm.roadmap.Settings` of the step.
        out_channels: Number of channels of each returned map.
        out_strides: Stride in pixels of each returned map.

    Raises:
        SettingError: An argument is out of range. The message names it and the allowed values.

    Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022, section 2.
    """

    def __init__(
        self,
        step: str,
        track: str = 'resnet50',
        width: int | None = None,
        depths: Sequence[int] | None = None,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = None,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        output_norms: bool = True,
        norm_eval: bool = False,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
    ) -> None:
        settings = resolve_settings(step, track, width, depths)
        widths = [settings.width * 2**i for i in range(NUM_STAGES)]
        channels = stage_channels(settings)
        super().__init__(
            arch=Arch(settings.depths, channels),
            in_channels=in_channels,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
        )
        self.settings = settings
        self.norm_eval = norm_eval
        separate = settings.downsampling == 'separate'
        layer_scale = layer_scale_init_value
        if layer_scale is None:
            layer_scale = V1_LAYER_SCALE if separate else 0.0
        if layer_scale < 0:
            raise SettingError(
                f'layer_scale_init_value={layer_scale!r} must be 0 (off) or positive'
            )

        self.downsample_layers = nn.ModuleList([_stem(settings, in_channels)])
        self.stages = nn.ModuleList()
        inputs = settings.width
        for i, rates in enumerate(self.drop_path_rates()):
            if i > 0:
                self.downsample_layers.append(
                    downsample(inputs, widths[i]) if separate else nn.Identity()
                )
            if separate:
                inputs = widths[i]
            blocks = []
            for b, rate in enumerate(rates):
                stride = 2 if b == 0 and i > 0 and not separate else 1
                blocks.append(RoadmapBlock(settings, inputs, widths[i], stride, rate, layer_scale))
                inputs = channels[i]
            self.stages.append(nn.Sequential(*blocks))
        for i in self.out_indices:
            has_norm = separate and output_norms
            norm = _norm(settings, channels[i]) if has_norm else nn.Identity()
            self.add_module(f'norm{i}', norm)
        self.finish()

    def train(self, mode: bool = True) -> Roadmap:
        """Set training or eval mode.

        Frozen modules stay in eval mode. With `norm_eval`, all BatchNorms do.
        """
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class Pointwise(nn.Linear):
    """A 1x1 convolution of an (N, C, H, W) map, with the parameters of ConvNeXt's linear layers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def block_channels(settings: Settings, width: int) -> int:
    """Return the number of output channels of a block in a stage of width w."""
    return EXPANSION * width if settings.block == 'bottleneck' else width


def stage_channels(settings: Settings) -> tuple[int, ...]:
    """Return the number of output channels of each stage."""
    return tuple(block_channels(settings, settings.width * 2**i) for i in range(NUM_STAGES))


def _branch(
    settings: Settings, in_channels: int, width: int, stride: int
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of the residual branch, with their names."""
    c, w, wide = in_channels, width, EXPANSION * width
    spatial = 'dwconv' if settings.depthwise else 'conv'
    convs = {
        'bottleneck': (('pwconv1', c, w), (spatial, w, w), ('pwconv2', w, wide)),
        'inverted': (('pwconv1', c, wide), (spatial, wide, wide), ('pwconv2', wide, w)),
        'depthwise_first': ((spatial, c, c), ('pwconv1', c, wide), ('pwconv2', wide, w)),
    }[settings.block]
    for k, (name, inputs, outputs) in enumerate(convs, start=1):
        is_spatial = name == spatial
        all_norms, all_activations = settings.norms == 'all', settings.activations == 'all'
        conv, *norm = _conv_norm(
            settings,
            inputs,
            outputs,
            kernel=settings.kernel if is_spatial else 1,
            stride=stride if is_spatial else 1,
            norm=all_norms or is_spatial,
            groups=inputs if name == 'dwconv' else 1,
        )
        yield name, conv
        if norm:
            yield f'norm{k}' if all_norms else 'norm', *norm
        if name == 'pwconv1' or (all_activations and k < len(convs)):
            yield f'activation{k}', settings.activation()


def _stem(settings: Settings, in_channels: int) -> nn.Sequential:
    """The stem: a convolution, and norm, activation and pooling if the step has them."""
    pool = settings.stem == 'pool'
    layers = _conv_norm(
        settings,
        in_channels,
        settings.width,
        kernel=7 if pool else STEM_STRIDE,
        stride=2 if pool else STEM_STRIDE,
        norm=settings.norms == 'all' or settings.downsampling == 'separate',
    )
    if settings.activations == 'all':
        layers.append(settings.activation())
    if pool:
        layers.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    return nn.Sequential(*layers)


def _conv_norm(
    settings: Settings,
    in_channels: int,
    channels: int,
    kernel: int,
    stride: int,
    norm: bool,
    groups: int = 1,
) -> list[nn.Module]:
    """Return a convolution and, if it has one, its norm. The BatchNorm replaces the bias."""
    bias = not (norm and settings.norm is nn.BatchNorm2d)
    if kernel == stride == 1:
        conv = Pointwise(in_channels, channels, bias)
    else:
        # Patches do not overlap and need no padding.
        padding = 0 if kernel == stride else kernel // 2
        conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, groups=groups, bias=bias)
    return [conv, _norm(settings, channels)] if norm else [conv]


def _norm(settings: Settings, channels: int) -> nn.Module:
    if settings.norm is LayerNorm2d:
        return LayerNorm2d(channels, eps=NORM_EPS)
    return settings.norm(channels)
