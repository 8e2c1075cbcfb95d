"""Find a ConvNeXt in a checkpoint of any known format, and read it under the backbone's names.

There is one rule for wrappers and prefixes: the network is where the depthwise kernel of its first
block is. The keys that lead to its dict (``model``, ``state_dict``, ...) and the prefix of its
names (``module.``, ``backbone.``, ``visual.trunk.``, ``teacher.backbone.``, ...) are removed.
``_orig_mod.``, which torch.compile inserts, is removed everywhere. If a file holds several
networks, moving averages called ``ema`` and the ``student`` are ignored. If several networks
remain, it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from convnext_mm.archs import ARCHS, NUM_STAGES, Arch
from convnext_mm.errors import WeightsError
from convnext_mm.messages.wording import listed
from convnext_mm.weights.names import (
    FIRST_KERNEL,
    FORMATS,
    Format,
    is_first_kernel,
    our_shape,
    to_ours,
    to_theirs,
)

# Names of a second network beside the one that is meant for use.
_COPY = re.compile(r'(^|[._])(ema|student)([._]|$)')
_COMPILED = '_orig_mod.'
UNNAMED = 'the checkpoint'


@dataclass(frozen=True)
class BackboneState:
    """The tensors of a checkpoint under the backbone's names.

    Attributes:
        source: Name of the checkpoint in messages.
        format: Name of its format, such as ``official`` or ``timm``.
        tensors: Stem, stages and, from a detector or segmentor, output norms, with our shapes.
        final_norm: ``weight`` and ``bias`` of the last norm of a classifier, if there is one.
        unused: Names in the file of tensors that no backbone has: classifier, neck, heads.
        loads_final_norm: Whether ``final_norm='auto'`` loads the last norm into ``norm3``, because
            it was trained on the whole map (DINOv3).
    """

    source: str
    format: str
    tensors: dict[str, Tensor]
    final_norm: dict[str, Tensor]
    unused: tuple[str, ...]
    loads_final_norm: bool = False


@dataclass(frozen=True)
class Network:
    """A ConvNeXt found in a checkpoint.

    Attributes:
        source: Name of the checkpoint in messages.
        format: The format of its names.
        where: The keys that lead to its dict and the prefix of its names, such as ``model.``.
        prefix: The prefix of its names alone.
        tensors: Stem, stages, ``norm0`` .. ``norm3``, the final ``norm`` and the ``head`` of a
            classifier, under our names and with our shapes.
        names: Our name -> the name in the file.
        others: All other tensors of the same dict, under their names in the file.
    """

    source: str
    format: Format
    where: str
    prefix: str
    tensors: dict[str, Tensor]
    names: dict[str, str]
    others: dict[str, Tensor]


def to_backbone(
    checkpoint: Mapping, part_of_model: bool = False, source: str = UNNAMED
) -> BackboneState:
    """Read a checkpoint of any known format: a classifier, a trunk, a detector or a segmentor.

    Args:
        checkpoint: Tensors by name, possibly inside further dicts. It is not changed, and the
            result shares its memory.
        part_of_model: Whether the tensors are the backbone of a detector or segmentor. A lone
            ``norm3`` under MMPretrain's names is then an output norm, otherwise the final norm of
            a classifier.
        source: Name of the checkpoint in messages.

    Raises:
        WeightsError: The checkpoint holds no ConvNeXt, or several.
    """
    network = find_network(checkpoint, part_of_model, source)
    tensors, final_norm, head = {}, {}, []
    for name, tensor in network.tensors.items():
        if name.startswith('head.'):
            head.append(network.names[name])
        elif name.startswith('norm.'):
            final_norm[name.removeprefix('norm.')] = tensor
        else:
            tensors[name] = tensor
    return BackboneState(
        source,
        network.format.name,
        tensors,
        final_norm,
        (*head, *network.others),
        network.format.final_norm_on_maps,
    )


def find_network(
    checkpoint: Mapping, part_of_model: bool = False, source: str = UNNAMED
) -> Network:
    """Find the one ConvNeXt in a checkpoint by the rule above.

    Args:
        checkpoint: As for :func:`to_backbone`.
        part_of_model: As for :func:`to_backbone`.
        source: As for :func:`to_backbone`.

    Raises:
        WeightsError: The checkpoint holds no ConvNeXt, or several.
    """
    found = [
        (path, *match, tensors)
        for path, tensors in _dicts_of_tensors(checkpoint)
        for match in _matches(tensors)
    ]
    chosen = [hit for hit in found if not _COPY.search(hit[0] + hit[1])] or found
    if not chosen:
        names = [name for _, tensors in _dicts_of_tensors(checkpoint) for name in tensors]
        raise WeightsError(
            f'{source} holds no ConvNeXt, because it has no tensor like {FIRST_KERNEL}; it has '
            f'{listed(names) or "no tensors"}'
        )
    if len(chosen) > 1:
        places = ', '.join(repr(path + prefix) for path, prefix, *_ in chosen)
        raise WeightsError(
            f'{source} holds {len(chosen)} ConvNeXts, at {places}: save one of them alone'
        )
    return _read(*chosen[0], part_of_model, source)


def infer_arch(tensors: Mapping[str, Tensor]) -> Arch | None:
    """Return the depths and channels of a network from its tensors under our names.

    Returns:
        The arch, or None if a stage has no block.
    """
    stages = []
    for i in range(NUM_STAGES):
        kernels = {
            int(name.split('.')[2]): tensor.shape[0]
            for name, tensor in tensors.items()
            if name.startswith(f'stages.{i}.') and name.endswith('.dwconv.weight')
            if tensor.ndim and tensor.shape[0]
        }
        if not kernels:
            return None
        depth = max(kernels) + 1
        stages.append((depth, kernels[depth - 1]))
    depths, channels = zip(*stages)
    return Arch(depths, channels, grn='stages.0.0.grn.gamma' in tensors)


def arch_name(arch: Arch | None) -> str | None:
    """Return the name of a variant in :data:`convnext_mm.ARCHS`, such as ``base``, or None."""
    return next((name for name, known in ARCHS.items() if known == arch), None)


def _dicts_of_tensors(checkpoint: Mapping, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yield every dict with tensors, and the keys that lead to it."""
    tensors = {
        name.replace(_COMPILED, ''): value
        for name, value in checkpoint.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if tensors:
        yield path, tensors
    for key, value in checkpoint.items():
        if isinstance(value, Mapping):
            yield from _dicts_of_tensors(value, f'{path}{key}.')


def _matches(tensors: Mapping[str, Tensor]) -> list[tuple[str, Format]]:
    """Return the prefix and the format of every network in a dict of tensors."""
    matches = {}
    for format in FORMATS:
        mark = to_theirs(format)[FIRST_KERNEL]
        for name, tensor in tensors.items():
            if f'.{name}'.endswith(f'.{mark}') and is_first_kernel(tensor):
                prefix = name.removesuffix(mark)
                if all(prefix + other in tensors for other in format.also):
                    matches.setdefault(name, (prefix, format))
    return list(matches.values())


def _read(
    path: str,
    prefix: str,
    format: Format,
    state: Mapping[str, Tensor],
    part_of_model: bool,
    source: str,
) -> Network:
    # The last layer of a classifier is beside the `backbone.` or `convnext.` with the other layers.
    home = next((home for home in format.homes if prefix.endswith(home)), '')
    root = prefix.removesuffix(home)
    table = to_ours(format)
    tensors, names, others = {}, {}, {}
    for name, tensor in state.items():
        inner = name.removeprefix(prefix) if name.startswith(prefix) else None
        ours = table.get(inner)
        if ours is None and name.startswith(f'{root}{format.head}.'):
            ours = table.get(name.removeprefix(root))
        if ours is not None:
            tensors[ours] = our_shape(ours, tensor)
            names[ours] = name
        elif inner not in format.duplicates:
            others[name] = tensor
    is_classifier = not part_of_model and all(name.startswith(f'{root}head.') for name in others)
    if format.final_norm == 'norm3' and is_classifier:
        _rename_lone_norm3(tensors, names)
    return Network(source, format, path + prefix, prefix, tensors, names, others)


def _rename_lone_norm3(tensors: dict[str, Tensor], names: dict[str, str]) -> None:
    """Rename the only norm of a classifier of MMPretrain, which normalises pooled features."""
    if any(f'norm{i}.weight' in tensors for i in range(NUM_STAGES - 1)):
        return
    for kind in ('weight', 'bias'):
        if f'norm3.{kind}' in tensors:
            for values in (tensors, names):
                values[f'norm.{kind}'] = values.pop(f'norm3.{kind}')
