"""Read a published classifier under the names of the classifiers in ``configs/imagenet``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from convnext_mm.errors import WeightsError
from convnext_mm.weights.formats import UNNAMED, find_network

# The names of the pooled norm and of the linear layer, by their names in the authors' code.
_PARTS = {'norm.': 'neck.norm.', 'head.': 'head.fc.'}


def to_classifier(checkpoint: Mapping, source: str = UNNAMED) -> dict[str, Tensor]:
    """Return the tensors of a classifier of any known format, with the names of MMPretrain's model.

    The model is an ``ImageClassifier`` of a :class:`convnext_mm.ConvNeXt`, a
    :class:`convnext_mm.PooledNorm` and a ``LinearClsHead``.

    Args:
        checkpoint: Tensors by name, possibly inside further dicts. It is not changed, and the
            result shares its memory.
        source: Name of the checkpoint in messages.

    Raises:
        WeightsError: The checkpoint holds no classifier.
    """
    network = find_network(checkpoint, source=source)
    if missing := [part for part in _PARTS if f'{part}weight' not in network.tensors]:
        parts = {'norm.': 'norm after the pooling', 'head.': 'linear layer of a classifier'}
        raise WeightsError(
            f'{source} is no classifier: it has no {" and no ".join(parts[p] for p in missing)}. '
            'A backbone alone goes into the config: model.backbone.init_cfg=dict('
            "type='ConvNeXtPretrained', checkpoint=...)"
        )
    return {_our_name(name): tensor for name, tensor in network.tensors.items()}


def _our_name(name: str) -> str:
    for theirs, ours in _PARTS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return f'backbone.{name}'
