"""Recognise the format of a state dict and rename its keys to the backbone's (pure functions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_WRAPPERS = ('model', 'state_dict')
_PREFIXES = ('module.', 'backbone.')
_BACKBONE_KEYS = ('downsample_layers.', 'stages.', 'norm0.', 'norm1.', 'norm2.', 'norm3.')


@dataclass(frozen=True)
class BackboneState:
    """A checkpoint's tensors under the backbone's names.

    Attributes:
        tensors: Stem, stages and, from a detector or segmentor, output norms.
        final_norm: ``weight`` and ``bias`` of the classifier's last norm, if the file has them.
        unused: Names of the tensors no backbone holds: classifier, neck, heads.
    """

    tensors: dict[str, Tensor]
    final_norm: dict[str, Tensor]
    unused: tuple[str, ...]


def to_backbone(checkpoint: Mapping) -> BackboneState:
    """Read a checkpoint with the authors' names: a classifier, or a whole detector or segmentor.

    Args:
        checkpoint: What the file holds: tensors by name, possibly wrapped as ``model`` (the
            authors' classifiers) or ``state_dict`` (OpenMMLab).

    Raises:
        ValueError: No tensor has a ConvNeXt's name.
    """
    for wrapper in _WRAPPERS:
        if isinstance(checkpoint.get(wrapper), Mapping):
            checkpoint = checkpoint[wrapper]
    state = {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if any(name.startswith(prefix + _BACKBONE_KEYS[0]) for name in state):
            # Beside a backbone's prefix, what lacks it is neck and heads; keep it out of the way.
            state = {
                name[len(prefix) :] if name.startswith(prefix) else f'({name})': value
                for name, value in state.items()
            }
    tensors = {name: value for name, value in state.items() if name.startswith(_BACKBONE_KEYS)}
    if not tensors:
        raise ValueError(
            "the checkpoint holds no tensor with the name of a ConvNeXt's, such as "
            f'downsample_layers.0.0.weight; its first names: {", ".join(list(state)[:3]) or "none"}'
        )
    final_norm = {
        name.removeprefix('norm.'): value
        for name, value in state.items()
        if name.startswith('norm.')
    }
    unused = tuple(
        name.strip('()')
        for name in state
        if name not in tensors and name.removeprefix('norm.') not in final_norm
    )
    return BackboneState(tensors, final_norm, unused)
