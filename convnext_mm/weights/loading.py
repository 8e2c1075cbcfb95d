"""Load pretrained weights into a backbone, all or nothing, and say what was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from convnext_mm.errors import MissingWeightsError, WeightsError
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.fitting import fitting_tensors
from convnext_mm.weights.formats import BackboneState, to_backbone

FINAL_NORM_POLICIES = ('auto', 'drop', 'load')


@WEIGHT_INITIALIZERS.register_module()
class ConvNeXtPretrained:
    """Initialise a :class:`convnext_mm.ConvNeXt` from a checkpoint of any known format.

    Use as ``init_cfg=dict(type='ConvNeXtPretrained', checkpoint=...)`` of the backbone.

    Args:
        checkpoint: What :func:`convnext_mm.weights.files.local_file` takes: a short name such as
            ``convnext_tiny_in1k``, a path, a URL, ``hf://org/name``, ``timm://name``.
        final_norm: What becomes of a classifier's last norm. ``drop`` leaves it out, as the authors
            do when they fine-tune a detector; ``load`` puts it into ``norm3``; ``auto`` loads it
            where it was trained on maps too (DINOv3), and drops it otherwise.
        adapt_stem: Whether weights for RGB images may start a backbone with other `in_channels`.
            One channel gets the sum of the three; n channels get them in turn (R, G, B, R, ...),
            scaled by 3/n, so that a grey image gives about the same maps. It is timm's rule.

    Raises:
        MissingWeightsError: The file is not there or cannot be downloaded.
        WeightsError: The file cannot be read safely, or the stem and stages are not all in it with
            the backbone's shapes and finite values. The backbone is then unchanged.
    """

    def __init__(self, checkpoint: str, final_norm: str = 'auto', adapt_stem: bool = False) -> None:
        if final_norm not in FINAL_NORM_POLICIES:
            raise ValueError(
                f'final_norm={final_norm!r} is unknown; allowed: {", ".join(FINAL_NORM_POLICIES)}'
            )
        self.checkpoint = checkpoint
        self.final_norm = final_norm
        self.adapt_stem = adapt_stem

    def __call__(self, backbone: nn.Module) -> None:
        try:
            content = read_checkpoint(self.checkpoint)
        except FileNotFoundError as error:
            raise MissingWeightsError(str(error)) from error
        except ValueError as error:
            raise WeightsError(str(error)) from error
        try:
            report = load_backbone(
                backbone, to_backbone(content), self.final_norm, self.adapt_stem, self.checkpoint
            )
        except ValueError as error:
            raise WeightsError(f'{self.checkpoint}: {error}') from None
        print_log(report, logger='current')
        if hasattr(backbone, '_params_init_info'):
            update_init_info(backbone, init_info=f'ConvNeXtPretrained: {self.checkpoint}')


def load_backbone(
    backbone: nn.Module,
    state: BackboneState,
    final_norm: str = 'auto',
    adapt_stem: bool = False,
    source: str = '',
) -> str:
    """Copy a state into a backbone, all or nothing, and return a one-line report.

    Stages the backbone has not built (because of its ``out_indices``) are left out.

    Args:
        backbone: A :class:`convnext_mm.ConvNeXt`.
        state: What :func:`convnext_mm.weights.formats.to_backbone` made of a file.
        final_norm: As for :class:`ConvNeXtPretrained`.
        adapt_stem: As for :class:`ConvNeXtPretrained`.
        source: What the file is called in the report.

    Raises:
        ValueError: A tensor of the stem or the stages is missing or has another shape, or the
            values of one cannot be weights.
    """
    own = backbone.state_dict()
    tensors = fitting_tensors(backbone, state, final_norm, adapt_stem)
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)
    return _report(own, state, tensors, source)


@CheckpointLoader.register_scheme(prefixes=('hf://', 'timm://', r'.*\.safetensors$'), force=True)
def load_from_convnext_mm(filename: str, map_location: object = None) -> Mapping:
    """Lets MMEngine's ``Pretrained`` and ``load_from`` take more than it knows by itself."""
    return read_checkpoint(filename)


def _report(
    own: Mapping[str, Tensor], state: BackboneState, tensors: Mapping[str, Tensor], source: str
) -> str:
    norms = sum(name.startswith('norm') for name in own)
    loaded = sum(name.startswith('norm') for name in tensors)
    from_detector = any(name.startswith('norm') for name in state.tensors)
    parts = [f'loaded {len(tensors) - loaded}/{len(own) - norms} backbone tensors']
    if from_detector:
        parts[0] += f' and {loaded}/{norms} of the output norms'
    parts[0] += f' from {state.format}'
    if source:
        parts[0] += f' ({Path(source).name})'
    if state.final_norm:
        into_norm3 = loaded and not from_detector
        parts.append('final norm loaded into norm3' if into_norm3 else 'final norm dropped')
    if state.unused:
        owners = ', '.join(dict.fromkeys(name.partition('.')[0] for name in state.unused))
        parts.append(f'{len(state.unused)} tensors unused ({owners})')
    return ', '.join(parts)
