"""Find a ConvNeXt in whatever a file holds, and read it under the backbone's names (pure).

The rule for wrappers and prefixes is one: the network is where the depthwise kernel of its first
block is. The keys that lead to the dict it is in (``model``, ``state_dict``, ...) and what stands
before its name (``module.``, ``backbone.``, ``visual.trunk.``, ``teacher.backbone.``, ...) are
taken off whatever they are. ``_orig_mod.``, which torch.compile puts before any module, is taken
out everywhere. Of several networks in a file (:func:`find_network`) the moving averages called
``ema`` and the ``student`` count only where they are alone; what is then still ambiguous is an
error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from convnext_mm.archs import ARCHS, NUM_STAGES, Arch
from convnext_mm.weights.names import (
    FIRST_KERNEL,
    FORMATS,
    Format,
    is_first_kernel,
    our_shape,
    to_ours,
    to_theirs,
)

# A second copy of the weights beside the ones meant for use.
_COPY = re.compile(r'(^|[._])(ema|student)([._]|$)')
_COMPILED = '_orig_mod.'


@dataclass(frozen=True)
class BackboneState:
    """A checkpoint's tensors under the backbone's names.

    Attributes:
        format: Name of the format they had, such as ``official`` or ``timm``.
        tensors: Stem, stages and, from a detector or segmentor, output norms, with our shapes.
        final_norm: ``weight`` and ``bias`` of the classifier's last norm, if the file has them.
        unused: The file's names of the tensors no backbone holds: classifier, neck, heads.
        loads_final_norm: Whether the last norm belongs into ``norm3`` unless told otherwise: it
            was trained on the map itself (DINOv3).
    """

    format: str
    tensors: dict[str, Tensor]
    final_norm: dict[str, Tensor]
    unused: tuple[str, ...]
    loads_final_norm: bool = False


@dataclass(frozen=True)
class Network:
    """A ConvNeXt found in a checkpoint.

    Attributes:
        format: Its names.
        where: What was taken off: the keys that lead to it and the prefix, such as ``model.``.
        prefix: The part of it that is in the tensors' names.
        tensors: Under our names, with our shapes: stem, stages, ``norm0`` .. ``norm3``, the final
            ``norm`` and the classifier's ``head``.
        names: Their names in the file, by ours.
        others: By the file's names, all other tensors of the dict it is in.
    """

    format: Format
    where: str
    prefix: str
    tensors: dict[str, Tensor]
    names: dict[str, str]
    others: dict[str, Tensor]


def to_backbone(checkpoint: Mapping, part_of_model: bool = False) -> BackboneState:
    """Read a checkpoint of any known format: a classifier, a trunk, a detector or a segmentor.

    Args:
        checkpoint: What the file holds: tensors by name, in any wrappers. It is not changed; the
            result shares its memory.
        part_of_model: Whether it is what a detector or segmentor has as its backbone. A lone
            ``norm3`` in MMPretrain's names is then an output norm and not a classifier's last.

    Raises:
        ValueError: There is no ConvNeXt in it, or more than one to choose from.
    """
    network = find_network(checkpoint, part_of_model)
    tensors, final_norm, head = {}, {}, []
    for name, tensor in network.tensors.items():
        if name.startswith('head.'):
            head.append(network.names[name])
        elif name.startswith('norm.'):
            final_norm[name.removeprefix('norm.')] = tensor
        else:
            tensors[name] = tensor
    return BackboneState(
        network.format.name,
        tensors,
        final_norm,
        (*head, *network.others),
        network.format.final_norm_on_maps,
    )


def find_network(checkpoint: Mapping, part_of_model: bool = False) -> Network:
    """The one ConvNeXt in a checkpoint; see the rule above.

    Raises:
        ValueError: There is none, or more than one to choose from.
    """
    found = [
        (path, *match, tensors)
        for path, tensors in _dicts_of_tensors(checkpoint)
        for match in _matches(tensors)
    ]
    chosen = [hit for hit in found if not _COPY.search(hit[0] + hit[1])] or found
    if not chosen:
        first = [name for _, tensors in _dicts_of_tensors(checkpoint) for name in tensors][:3]
        raise ValueError(
            "the checkpoint holds no tensor with the name of a ConvNeXt's, such as "
            f'{FIRST_KERNEL}; its first names: {", ".join(first) or "none"}'
        )
    if len(chosen) > 1:
        places = ', '.join(repr(path + prefix) for path, prefix, *_ in chosen)
        raise ValueError(
            f'the checkpoint holds {len(chosen)} ConvNeXts, at {places}: give one of them alone'
        )
    return _read(*chosen[0], part_of_model)


def infer_arch(tensors: Mapping[str, Tensor]) -> Arch | None:
    """Depths and channels of a network from its tensors under our names.

    Returns:
        None if a stage has no block.
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
    """The name of a published variant in :data:`convnext_mm.ARCHS`, such as ``base``, or None."""
    return next((name for name, known in ARCHS.items() if known == arch), None)


def _dicts_of_tensors(checkpoint: Mapping, path: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict in a checkpoint that has tensors, with the keys that lead to it."""
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
    """Prefix and format of every network in a dict of tensors."""
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
    path: str, prefix: str, format: Format, state: Mapping[str, Tensor], part_of_model: bool
) -> Network:
    # A classifier's last layer stands beside the `backbone.` or `convnext.` that holds the rest.
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
        _tell_final_norm_from_norm3(tensors, names)
    return Network(format, path + prefix, prefix, tensors, names, others)


def _tell_final_norm_from_norm3(tensors: dict[str, Tensor], names: dict[str, str]) -> None:
    """In MMPretrain's classifiers the only norm, ``norm3``, is the one of the pooled features."""
    if any(f'norm{i}.weight' in tensors for i in range(NUM_STAGES - 1)):
        return
    for kind in ('weight', 'bias'):
        if f'norm3.{kind}' in tensors:
            for values in (tensors, names):
                values[f'norm.{kind}'] = values.pop(f'norm3.{kind}')
