"""Recognise the format of a state dict and rename its keys to the backbone's (pure functions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_WRAPPERS = ('model', 'state_dict')
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
    state = {
        # DDP and its like put everything into a `module`.
        name.removeprefix('module.'): value
        for name, value in checkpoint.items()
        if isinstance(value, Tensor)
    }
    others = {}
    if any(name.startswith('backbone.') for name in state):
        # A whole detector or segmentor, whose neck and heads may have names like a backbone's.
        others = {name: v for name, v in state.items() if not name.startswith('backbone.')}
        state = {
            name.removeprefix('backbone.'): value
            for name, value in state.items()
            if name not in others
        }
    tensors = {name: value for name, value in state.items() if name.startswith(_BACKBONE_KEYS)}
    if not tensors:
        first = ', '.join(list(state | others)[:3])
        raise ValueError(
            "the checkpoint holds no tensor with the name of a ConvNeXt's, such as "
            f'downsample_layers.0.0.weight; its first names: {first or "none"}'
        )
    final_norm = {
        name.removeprefix('norm.'): value
        for name, value in state.items()
        if name.startswith('norm.')
    }
    unused = (name for name in state if name not in tensors and not name.startswith('norm.'))
    return BackboneState(tensors, final_norm, (*unused, *others))
