"""The steps from a ResNet to a ConvNeXt, with the published accuracy and FLOPs of each network.

``_TABLE`` is figure 2 of the paper from top to bottom. Each row says what differs from the row
before. :class:`Settings` has everything in which two networks of the roadmap can differ.

The published GFLOPs are the multiply-adds of the convolutions and of the classifier for an image of
224x224 pixels. The networks here have them to the last digit, except for two rows of the first
track: for ``layer_norm`` and ``separate_downsampling``, table 10 has 4.46 and 4.49, the networks
have 4.15 and 4.46, and figure 2 has 4.2 and 4.5. We do not know how table 10 counts these two.

Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022, section 2, figure 2, tables 10 and 11. The
width of ``stage_ratio`` in the second track is not in the paper. 84 is the only width that gives
the GFLOPs of this step and of the next two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from convnext_mm.errors import SettingError
from convnext_mm.layers import LayerNorm2d


@dataclass(frozen=True)
class Settings:
    """The settings of a network. The defaults are the settings of ResNet.

    Attributes:
        depths: Number of blocks in each stage.
        width: Width w of the first stage. It doubles from stage to stage.
        stem: ``pool``: a 7x7 convolution with stride 2, then 3x3 max pooling with stride 2.
            ``patchify``: a 4x4 convolution with stride 4.
        block: The convolutions of a block with C input channels.

            - ``bottleneck``: 1x1 from C to w, k x k at w, 1x1 from w to 4w.
            - ``inverted``: 1x1 from C to 4w, k x k at 4w, 1x1 from 4w to w.
            - ``depthwise_first``: k x k at C, 1x1 from C to 4w, 1x1 from 4w to w.

        depthwise: Whether the k x k convolution is depthwise.
        kernel: The kernel size k.
        activation: The activation.
        activations: ``all``: after each convolution. The last one of a block stands after the sum
            with the shortcut. ``one``: one in each block, between the two 1x1 convolutions.
        norm: The norm.
        norms: ``all``: after each convolution. ``one``: one in each block, before the first 1x1
            convolution.
        downsampling: How the resolution is halved before stages 1, 2 and 3. ``block``: the first
            k x k convolution of the stage and a 1x1 convolution in the shortcut have stride 2.
            ``separate``: a norm and a 2x2 convolution with stride 2 stand before the stage. There
            is also a norm after the stem and on each output.
    """

    depths: tuple[int, int, int, int]
    width: int
    stem: Literal['pool', 'patchify'] = 'pool'
    block: Literal['bottleneck', 'inverted', 'depthwise_first'] = 'bottleneck'
    depthwise: bool = False
    kernel: int = 3
    activation: type[nn.Module] = nn.ReLU
    activations: Literal['all', 'one'] = 'all'
    norm: type[nn.Module] = nn.BatchNorm2d
    norms: Literal['all', 'one'] = 'all'
    downsampling: Literal['block', 'separate'] = 'block'


@dataclass(frozen=True)
class Published:
    """The published figures of a network.

    Attributes:
        top1: ImageNet-1k accuracy in percent.
        gflops: Billions of multiply-adds; None if we have no published figure.
        deviation: Standard deviation of `top1` over three seeds; None for a single seed.
    """

    top1: float
    gflops: float | None
    deviation: float | None = None


@dataclass(frozen=True)
class Step:
    """A step of the roadmap.

    Attributes:
        settings: The settings of the network.
        published: Its published figures.
        builds_on: The step that it changes; None for the first.
    """

    settings: Settings
    published: Published
    builds_on: str | None


# Track -> its first network. The last ones are ConvNeXt-T and ConvNeXt-B.
_START = {
    'resnet50': Settings(depths=(3, 4, 6, 3), width=64),
    'resnet200': Settings(depths=(3, 24, 36, 3), width=64),
}
_NOT_ADOPTED = ('kernel_5', 'kernel_9', 'kernel_11')  # the next steps have kernel_7

# fmt: off
_TABLE = (
    # Where a change has a list, its second value is for the track from ResNet-200.
    #                          from ResNet-50       from ResNet-200
    # step                     top-1, GFLOPs, dev.  top-1, GFLOPs   what changes
    ('resnet',                 (78.82, 4.09, 0.07), (78.20, 15.01), {}),
    ('stage_ratio',            (79.36, 4.53, 0.07), (81.33, 14.52),
                               dict(depths=[(3, 3, 9, 3), (3, 3, 27, 3)], width=[64, 84])),
    ('patchify_stem',          (79.51, 4.42, 0.18), (81.59, 14.38), dict(stem='patchify')),
    ('depthwise',              (78.28, 2.35, 0.08), (80.54, 7.23),  dict(depthwise=True)),
    ('width',                  (80.50, 5.27, 0.02), (81.85, 16.76), dict(width=[96, 128])),
    ('inverted_bottleneck',    (80.64, 4.64, 0.03), (82.64, 15.68), dict(block='inverted')),
    ('depthwise_first',        (79.92, 4.07, 0.08), (82.04, 14.63), dict(block='depthwise_first')),
    ('kernel_5',               (80.35, 4.10, 0.08), (82.32, 14.70), dict(kernel=5)),
    ('kernel_7',               (80.57, 4.15, 0.14), (82.30, 14.81), dict(kernel=7)),
    ('kernel_9',               (80.57, 4.21, 0.06), (82.27, 14.95), dict(kernel=9)),
    ('kernel_11',              (80.47, 4.29, 0.11), (82.18, 15.13), dict(kernel=11)),
    ('gelu',                   (80.62, 4.15, 0.14), (82.19, None),  dict(activation=nn.GELU)),
    ('fewer_activations',      (81.27, 4.15, 0.06), (82.71, None),  dict(activations='one')),
    ('fewer_norms',            (81.41, 4.15, 0.09), (83.17, None),  dict(norms='one')),
    ('layer_norm',             (81.47, 4.46, 0.09), (83.35, None),  dict(norm=LayerNorm2d)),
    ('separate_downsampling',  (81.97, 4.49, 0.06), (83.60, 15.35), dict(downsampling='separate')),
)
# fmt: on
STEPS = tuple(row[0] for row in _TABLE)


def _steps(track: str) -> dict[str, Step]:
    """Return the steps of a track, in the order of the table."""
    number = list(_START).index(track)
    settings, builds_on, steps = _START[track], None, {}
    for name, *figures, change in _TABLE:
        own = {key: v[number] if isinstance(v, list) else v for key, v in change.items()}
        steps[name] = Step(replace(settings, **own), Published(*figures[number]), builds_on)
        if name not in _NOT_ADOPTED:
            settings, builds_on = steps[name].settings, name
    return steps


ROADMAP: dict[str, dict[str, Step]] = {track: _steps(track) for track in _START}


def resolve_settings(
    step: str, track: str, width: int | None = None, depths: Sequence[int] | None = None
) -> Settings:
    """Return the settings of a step, with another width and depths if they are given.

    Args:
        step: A name in :data:`STEPS`.
        track: A name in :data:`ROADMAP`.
        width: Width of the last step of the track. The widths of all steps change by the same
            factor, and are rounded.
        depths: Number of blocks in each stage.

    Raises:
        SettingError: A name is unknown, or the width is no positive integer.
    """
    if track not in ROADMAP:
        raise SettingError(f'track={track!r} is unknown; allowed: {", ".join(ROADMAP)}')
    steps = ROADMAP[track]
    if step not in steps:
        raise SettingError(f'step={step!r} is unknown; allowed: {", ".join(steps)}')
    settings = steps[step].settings
    if width is not None:
        if type(width) is not int or width < 1:
            raise SettingError(f'width={width!r} must be a positive integer')
        last = steps[STEPS[-1]].settings.width
        settings = replace(settings, width=max(1, round(settings.width * width / last)))
    return settings if depths is None else replace(settings, depths=depths)
