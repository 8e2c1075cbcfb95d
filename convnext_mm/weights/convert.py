"""Write a checkpoint of any known format under the names of another project.

A classifier or trunk becomes a classifier or trunk of the other project. In a detector or
segmentor, the backbone is renamed and the other modules keep their names. In any other file (a CLIP
model, FCMAE with its decoder), only the network is converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from convnext_mm.errors import SettingError, UserError, WeightsError
from convnext_mm.messages.wording import counted, such_as
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.formats import UNNAMED, Network, arch_name, find_network, infer_arch
from convnext_mm.weights.names import HF, TARGETS, their_shape, to_theirs

PICKLES = ('.pth', '.pt', '.bin')
_BACKBONE = 'backbone.'


@dataclass(frozen=True)
class Converted:
    """A checkpoint under the names of another project.

    Attributes:
        network: The network before the conversion.
        tensors: The tensors to save; they may share memory with the checkpoint.
        wrapper: The key of the tensors in a PyTorch file, or None.
        left_out: Names in the original file of tensors that are not converted.
    """

    network: Network
    tensors: dict[str, Tensor]
    wrapper: str | None
    left_out: tuple[str, ...]


def convert(checkpoint: Mapping, to: str, source: str = UNNAMED) -> Converted:
    """Rename the tensors of a checkpoint; their values stay the same bit by bit.

    Args:
        checkpoint: The content of a file of any known format. It is not changed.
        to: ``official``, ``timm``, ``mmpretrain``, ``hf`` or ``torchvision``. Output norms, which
            only detectors have, keep our names if the format has no names for them.
        source: Name of the checkpoint in messages.

    Raises:
        SettingError: `to` is unknown.
        WeightsError: The checkpoint holds no whole ConvNeXt, or the format has no name for one of
            its tensors.
    """
    if to not in TARGETS:
        raise SettingError(f'to={to!r} is unknown; allowed: {", ".join(TARGETS)}')
    target = TARGETS[to]
    network = find_network(checkpoint, source=source)
    arch = infer_arch(network.tensors)
    if arch is None:
        raise WeightsError(f'{source}: stages are missing; only whole networks can be converted')
    body = {name: t for name, t in network.tensors.items() if not name.startswith('head.')}
    head = {name: t for name, t in network.tensors.items() if name not in body}
    root, beside = _modules_beside(network)
    if beside:
        home, wrapper = _BACKBONE, 'state_dict'
        beside |= {network.names[name]: t for name, t in head.items()}
        head = {}
    else:
        is_bare = target is HF and not head  # Only a classifier of transformers has the prefix.
        home, wrapper = '' if is_bare else target.homes[arch.grn], target.wrapper

    table = to_theirs(target)
    tensors = {}
    for prefix, part in ((home, body), ('', head)):
        for name, tensor in part.items():
            theirs = table[name]
            if theirs is None or prefix + theirs in tensors:
                raise WeightsError(f'{source}: {to} has no name for {name} ({network.format.name})')
            tensors[prefix + theirs] = their_shape(target, name, tensor, arch.channels[0])
    tensors |= {name.removeprefix(root): tensor for name, tensor in beside.items()}
    left_out = tuple(name for name in network.others if name not in beside)
    return Converted(network, tensors, wrapper, left_out)


def convert_file(source: str, target: str, to: str) -> str:
    """Convert a file and return a report of the conversion.

    Args:
        source: As for :func:`~convnext_mm.weights.files.read_checkpoint`.
        target: The file to write. Its suffix decides between safetensors and a PyTorch file.
        to: As for :func:`convert`.

    Raises:
        UserError: The source cannot be read or converted, or the target cannot be written.
    """
    path = Path(target)
    if path.suffix not in ('.safetensors', *PICKLES):
        raise UserError(f'{target}: the name must end in .safetensors or {", ".join(PICKLES)}')
    if path.exists():
        raise UserError(f'{target}: the file exists; remove it or choose another name')
    if not path.absolute().parent.is_dir():
        raise UserError(f'{target}: there is no folder {path.parent}')
    converted = convert(read_checkpoint(source), to, source)
    write(converted, path)
    return _report(converted, target, to)


def write(converted: Converted, path: Path) -> None:
    """Save as safetensors or, with another suffix, as a PyTorch file with the format's wrapper."""
    # Each tensor gets its own memory. A PyTorch file would hold the whole memory behind a view, and
    # safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in converted.tensors.items()
    }
    if path.suffix == '.safetensors':
        save_file(tensors, path, metadata={'format': 'pt'})  # transformers requires it.
    else:
        torch.save({converted.wrapper: tensors} if converted.wrapper else tensors, path)


def _modules_beside(network: Network) -> tuple[str, dict[str, Tensor]]:
    """Return the prefix of the detector or segmentor around a network; its neck and heads."""
    root = network.prefix.removesuffix(_BACKBONE)
    if root == network.prefix:
        return root, {}
    return root, {name: t for name, t in network.others.items() if name.startswith(root)}


def _report(converted: Converted, target: str, to: str) -> str:
    network = converted.network
    arch = infer_arch(network.tensors)
    lines = [
        f'{network.source}: {network.format.name}, {arch_name(arch) or arch}',
        f'{target}: {to}, {counted(len(converted.tensors), "tensor")}',
    ]
    if converted.left_out:
        lines.append(f'left out: {such_as(converted.left_out)} beside the network')
    if network.format.final_norm_on_maps:
        lines.append(
            f'note: the last norm of {network.format.name} was trained on whole maps; the new file '
            "does not say so, so load it with final_norm='load'"
        )
    return '\n'.join(lines)
