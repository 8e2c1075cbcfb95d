"""Write a checkpoint of any known format under another project's names.

A classifier or a trunk becomes the other project's classifier or trunk. In a whole detector or
segmentor, whose network is a ``backbone.`` with other modules beside it, the backbone is renamed
and the rest passes as it is. Of anything else (a CLIP model, FCMAE with its decoder) the network is
converted and the rest left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from convnext_mm.errors import UserError
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.formats import Network, arch_name, find_network, infer_arch
from convnext_mm.weights.names import (
    HF,
    MMPRETRAIN,
    OFFICIAL,
    TIMM,
    TORCHVISION,
    their_shape,
    to_theirs,
)

TARGETS = {format.name: format for format in (OFFICIAL, TIMM, MMPRETRAIN, HF, TORCHVISION)}
PICKLES = ('.pth', '.pt', '.bin')
_PART = 'backbone.'


@dataclass(frozen=True)
class Converted:
    """A checkpoint under another project's names.

    Attributes:
        network: The network as it was found.
        tensors: What to save; they may share memory with the checkpoint.
        wrapper: The key a pickled file keeps them under, or None.
        left_out: The file's names of the tensors that are not in it.
    """

    network: Network
    tensors: dict[str, Tensor]
    wrapper: str | None
    left_out: tuple[str, ...]


def convert(checkpoint: Mapping, to: str) -> Converted:
    """Rename a checkpoint's tensors to a format of :data:`TARGETS`, bit by bit the same.

    Args:
        checkpoint: What a file of any known format holds. It is not changed.
        to: ``official``, ``timm``, ``mmpretrain``, ``hf`` or ``torchvision``. Output norms, which
            only detectors have, keep our names where the format has none of its own.

    Raises:
        ValueError: There is no ConvNeXt in it, or the format has no place for one of its tensors.
    """
    if to not in TARGETS:
        raise ValueError(f'to={to!r} is unknown; allowed: {", ".join(TARGETS)}')
    target = TARGETS[to]
    network = find_network(checkpoint)
    arch = infer_arch(network.tensors)
    if arch is None:
        raise ValueError('stages are missing: only whole networks can be converted')
    body = {name: t for name, t in network.tensors.items() if not name.startswith('head.')}
    head = {name: t for name, t in network.tensors.items() if name not in body}
    root, beside = _modules_beside(network)
    if beside:
        home, wrapper = _PART, 'state_dict'
        beside |= {network.names[name]: t for name, t in head.items()}
        head = {}
    else:
        is_bare = target is HF and not head  # a model without classifier has no prefix there
        home, wrapper = '' if is_bare else target.homes[arch.grn], target.wrapper

    table = to_theirs(target)
    tensors = {}
    for prefix, part in ((home, body), ('', head)):
        for name, tensor in part.items():
            theirs = table[name]
            if theirs is None or prefix + theirs in tensors:
                raise ValueError(f'{to} has no place for {name} of the {network.format.name} file')
            tensors[prefix + theirs] = their_shape(target, name, tensor, arch.channels[0])
    tensors |= {name.removeprefix(root): tensor for name, tensor in beside.items()}
    left_out = tuple(name for name in network.others if name not in beside)
    return Converted(network, tensors, wrapper, left_out)


def convert_file(source: str, target: str, to: str) -> str:
    """Convert a file and return a report of what was done.

    Args:
        source: What :func:`~convnext_mm.weights.files.read_checkpoint` reads.
        target: The file to write, safetensors or pickled by its suffix.
        to: See :func:`convert`.

    Raises:
        UserError: The source cannot be read or converted, or the target not be written.
    """
    path = Path(target)
    if path.suffix not in ('.safetensors', *PICKLES):
        raise UserError(f'{target}: the name must end in .safetensors or {", ".join(PICKLES)}')
    if path.exists():
        raise UserError(f'{target}: there is such a file; remove it or choose another name')
    if not path.absolute().parent.is_dir():
        raise UserError(f'{target}: there is no folder {path.parent}')
    try:
        checkpoint = read_checkpoint(source)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error
    try:
        converted = convert(checkpoint, to)
    except ValueError as error:
        raise UserError(f'{source}: {error}') from error
    write(converted, path)
    return _report(converted, source, target, to)


def write(converted: Converted, path: Path) -> None:
    """Save as safetensors or, with another suffix, as a pickled dict in the format's wrapper."""
    # Own memory for each: a view would drag all it is a view of into a pickle, and safetensors
    # refuses tensors that share memory.
    tensors = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in converted.tensors.items()
    }
    if path.suffix == '.safetensors':
        save_file(tensors, path, metadata={'format': 'pt'})  # transformers asks for this
    else:
        torch.save({converted.wrapper: tensors} if converted.wrapper else tensors, path)


def _modules_beside(network: Network) -> tuple[str, dict[str, Tensor]]:
    """Prefix of the detector or segmentor that the network is part of; its neck and heads."""
    root = network.prefix.removesuffix(_PART)
    if root == network.prefix:
        return root, {}
    return root, {name: t for name, t in network.others.items() if name.startswith(root)}


def _report(converted: Converted, source: str, target: str, to: str) -> str:
    network = converted.network
    arch = infer_arch(network.tensors)
    lines = [
        f'{source}: {network.format.name}, {arch_name(arch) or arch}',
        f'{target}: {to}, {len(converted.tensors)} tensors',
    ]
    if converted.left_out:
        count, first = len(converted.left_out), converted.left_out[0]
        lines.append(f'left out: {count} tensors beside the network, such as {first}')
    if network.format.final_norm_on_maps:
        lines.append(
            f"note: {network.format.name}'s last norm was trained on the maps too; from the new "
            "file it is loaded only with final_norm='load'"
        )
    return '\n'.join(lines)
