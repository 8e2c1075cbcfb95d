"""The networks between ResNet and ConvNeXt, one for each step of the paper's roadmap."""

from convnext_mm.roadmap.networks import Roadmap
from convnext_mm.roadmap.steps import ROADMAP, STEPS, Published, Settings, Step

__all__ = ['ROADMAP', 'STEPS', 'Published', 'Roadmap', 'Settings', 'Step']
