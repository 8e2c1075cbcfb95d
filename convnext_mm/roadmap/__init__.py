"""The networks between ResNet and ConvNeXt, one for each step of the paper's roadmap."""

from convnext_mm.roadmap.networks import Roadmap, stage_channels
from convnext_mm.roadmap.steps import (
    ROADMAP,
    STEPS,
    Published,
    Settings,
    Step,
    resolve_settings,
)

__all__ = [
    'ROADMAP',
    'STEPS',
    'Published',
    'Roadmap',
    'Settings',
    'Step',
    'resolve_settings',
    'stage_channels',
]
