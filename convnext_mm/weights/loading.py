"""Load pretrained weights into a backbone, all or nothing, and report what was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from convnext_mm.errors import SettingError
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.fitting import select_tensors
from convnext_mm.weights.formats import BackboneState, to_backbone

FINAL_NORM_POLICIES = ('auto', 'drop', 'load')


@WEIGHT_INITIALIZERS.register_module()
class ConvNeXtPretrained:
    """Initialise a :class:`convnext_mm.ConvNeXt` from a checkpoint of any known format.

    Use it as ``init_cfg=dict(type='ConvNeXtPretrained', checkpoint=...)`` of the backbone.

    Args:
        checkpoint: A short name such as ``convnext_tiny_in1k``, a path, a URL, ``hf://org/name``
            or ``timm://name``; see :func:`convnext_mm.weights.files.local_file`.
        final_norm: How to use the last norm of a classifier. ``drop`` leaves it out, as the authors
            do when they fine-tune a detector. ``load`` loads it into ``norm3``. ``auto`` loads it
            if it was trained on whole maps (DINOv3), and drops it otherwise.
        adapt_stem: Whether weights for RGB images may start a backbone with other `in_channels`.
            One channel gets the sum of the three. n channels get them in turn (R, G, B, R, ...),
            scaled by 3/n, so a grey image gives about the same maps. timm has the same rule.

    Raises:
        SettingError: `final_norm` is unknown.
        MissingWeightsError: The file does not exist.
        DownloadError: The file cannot be downloaded.
        WeightsError: The file cannot be read safely, or does not hold the whole stem and all stages
            with the shapes of the backbone and finite values. The backbone is then unchanged.
    """

    def __init__(self, checkpoint: str, final_norm: str = 'auto', adapt_stem: bool = False) -> None:
        if final_norm not in FINAL_NORM_POLICIES:
            raise SettingError(
                f'final_norm={final_norm!r} is unknown; allowed: {", ".join(FINAL_NORM_POLICIES)}'
            )
        self.checkpoint = checkpoint
        self.final_norm = final_norm
        self.adapt_stem = adapt_stem

    def __call__(self, backbone: nn.Module) -> None:
        state = to_backbone(read_checkpoint(self.checkpoint), source=str(self.checkpoint))
        report = load_backbone(backbone, state, self.final_norm, self.adapt_stem)
        print_log(report, logger='current')
        if hasattr(backbone, '_params_init_info'):
            update_init_info(backbone, init_info=f'ConvNeXtPretrained: {self.checkpoint}')


def load_backbone(
    backbone: nn.Module, state: BackboneState, final_norm: str = 'auto', adapt_stem: bool = False
) -> str:
    """Copy a state into a backbone, all or nothing, and return a report of one line.

    Stages that the backbone does not build (because of its ``out_indices``) are left out.

    Args:
        backbone: A :class:`convnext_mm.ConvNeXt`.
        state: The result of :func:`convnext_mm.weights.formats.to_backbone`.
        final_norm: As for :class:`ConvNeXtPretrained`.
        adapt_stem: As for :class:`ConvNeXtPretrained`.

    Raises:
        WeightsError: A tensor of the stem or the stages is missing, has another shape, or has
            values that cannot be weights.
    """
    own = backbone.state_dict()
    tensors = select_tensors(backbone, state, final_norm, adapt_stem)
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)
    return _report(own, state, tensors)


@CheckpointLoader.register_scheme(prefixes=('hf://', 'timm://', r'.*\.safetensors$'), force=True)
def load_from_convnext_mm(filename: str, map_location: object = None) -> Mapping:
    """Read a kind of file that MMEngine does not know, for its ``Pretrained`` and ``load_from``."""
    return read_checkpoint(filename)


def _report(own: Mapping[str, Tensor], state: BackboneState, tensors: Mapping[str, Tensor]) -> str:
    norms = sum(name.startswith('norm') for name in own)
    loaded = sum(name.startswith('norm') for name in tensors)
    from_detector = any(name.startswith('norm') for name in state.tensors)
    parts = [f'loaded {len(tensors) - loaded}/{len(own) - norms} backbone tensors']
    if from_detector:
        parts[0] += f' and {loaded}/{norms} of the output norms'
    parts[0] += f' from {Path(state.source).name} ({state.format} names)'
    if state.final_norm:
        into_norm3 = loaded and not from_detector
        parts.append('final norm loaded into norm3' if into_norm3 else 'final norm dropped')
    if state.unused:
        owners = ', '.join(dict.fromkeys(name.partition('.')[0] for name in state.unused))
        parts.append(f'{len(state.unused)} tensors unused ({owners})')
    return ', '.join(parts)
