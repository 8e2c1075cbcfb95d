"""Describe a weights file from its tensors, without building a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite

import torch
from torch import Tensor

from convnext_mm.archs import NUM_STAGES, Arch
from convnext_mm.errors import WeightsError
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import counted, listed
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.formats import UNNAMED, Network, arch_name, find_network, infer_arch
from convnext_mm.weights.names import OFFICIAL, to_theirs


@dataclass(frozen=True)
class Inspection:
    """The metadata of a checkpoint with a ConvNeXt. Counts are numbers of tensors.

    Attributes:
        format: Name of the format.
        project: The project that the names come from.
        where: Prefix of the network in the file, including keys of dicts.
        arch: Name of the published variant, or None for other depths and channels.
        depths, channels, grn: The shape of the network; None if stages are missing.
        in_channels: Channels of the image.
        backbone: Tensors of the stem and stages.
        missing: Our names of stem and stage tensors that are not in the file. It is empty if whole
            stages are missing, because the variant is then unknown.
        parameters: Number of values in the stem, stages and norms.
        output_norms: Stages with an output norm.
        final_norm: Whether there is a final norm of a classifier or trunk.
        loads_final_norm: Whether ``final_norm='auto'`` loads it.
        others: Module -> tensors outside of the backbone (``neck``, ``head``).
        dtypes: Type -> tensors of the backbone.
        minimum, maximum, mean: Statistics of all finite values in the backbone.
        nan, infinite: Numbers of values that are not finite.
    """

    format: str
    project: str
    where: str
    arch: str | None
    depths: tuple[int, ...] | None
    channels: tuple[int, ...] | None
    grn: bool | None
    in_channels: int | None
    backbone: int
    missing: tuple[str, ...]
    parameters: int
    output_norms: tuple[int, ...]
    final_norm: bool
    loads_final_norm: bool
    others: dict[str, int]
    dtypes: dict[str, int]
    minimum: float | None
    maximum: float | None
    mean: float | None
    nan: int
    infinite: int


def inspect_file(source: str) -> Inspection:
    """Inspect a file.

    Args:
        source: As for :func:`~convnext_mm.weights.files.read_checkpoint`.

    Raises:
        UserError: The file cannot be read, or holds no ConvNeXt.
    """
    return inspect(read_checkpoint(source), source)


def inspect(checkpoint: Mapping, source: str = UNNAMED) -> Inspection:
    """Inspect the content of a file.

    Args:
        checkpoint: Tensors by name, possibly inside further dicts.
        source: Name of the checkpoint in messages.

    Raises:
        WeightsError: The checkpoint holds no ConvNeXt or several, or a tensor has no plain values.
    """
    network = find_network(checkpoint, source=source)
    tensors = network.tensors
    own = {name: t for name, t in tensors.items() if not name.startswith('head.')}
    for name, tensor in own.items():
        if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
            kind = "on the device 'meta'" if tensor.is_meta else f'{tensor.layout}, {tensor.dtype}'
            raise WeightsError(f'{source}: {name} is {kind}; weights must be dense, with values')
    arch = infer_arch(tensors)
    stem = tensors.get('downsample_layers.0.0.weight')
    return Inspection(
        format=network.format.name,
        project=network.format.project,
        where=network.where,
        arch=arch_name(arch),
        depths=arch and arch.depths,
        channels=arch and arch.channels,
        grn=arch and arch.grn,
        in_channels=None if stem is None else stem.shape[1],
        backbone=sum(not name.startswith('norm') for name in own),
        missing=_missing(arch, tensors),
        parameters=sum(tensor.numel() for tensor in own.values()),
        output_norms=tuple(i for i in range(NUM_STAGES) if f'norm{i}.weight' in own),
        final_norm='norm.weight' in own,
        loads_final_norm=network.format.final_norm_on_maps,
        others=_others(network),
        dtypes=dict(Counter(str(t.dtype).removeprefix('torch.') for t in own.values())),
        **_statistics(own.values()),
    )


def describe(source: str, found: Inspection) -> str:
    """Return the metadata as text, with the lines of a config that load the file."""
    rows = {
        'format': f'{found.format} ({found.project})',
        'found at': found.where or 'the top level',
        'variant': _variant(found),
        'backbone': _backbone(found),
        'output norms': ', '.join(f'norm{i}' for i in found.output_norms) or 'none',
        'final norm': _final_norm(found),
        'other tensors': _counts(found.others) or 'none',
        'type': _counts(found.dtypes) if len(found.dtypes) > 1 else ''.join(found.dtypes),
        'values': _values(found),
        'use': _use(source, found),
    }
    width = max(map(len, rows)) + 2
    lines = [source]
    for title, text in rows.items():
        first, *more = text.split('\n')
        lines += [f'  {title:<{width}}{first}', *(' ' * (width + 2) + line for line in more)]
    return '\n'.join(lines)


def as_json(found: Inspection) -> dict:
    """Return the metadata as plain values."""
    return asdict(found)


def _missing(arch: Arch | None, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return our names of the tensors of stem and stages that are missing."""
    if arch is None:
        return ()
    has_gamma = 'stages.0.0.gamma' in tensors

    def belongs(name: str) -> bool:
        module, *rest = name.split('.')
        if module != 'stages':
            return module == 'downsample_layers'
        i, j, part = rest[:3]
        optional = dict(grn=arch.grn, gamma=has_gamma)
        return int(j) < arch.depths[int(i)] and optional.get(part, True)

    return tuple(name for name in to_theirs(OFFICIAL) if belongs(name) and name not in tensors)


def _others(network: Network) -> dict[str, int]:
    """Count the tensors beside the network by module, the last layer of a classifier first."""
    head = sum(name.startswith('head.') for name in network.tensors)
    root = network.prefix.removesuffix('backbone.')
    modules = Counter(name.removeprefix(root).split('.')[0] for name in network.others)
    return ({'classifier': head} if head else {}) | dict(modules)


def _statistics(tensors: Iterable[Tensor]) -> dict[str, float | None]:
    """Return range and mean of the finite values, and the numbers of the others."""
    low, high, total, count, nan, infinite = [], [], 0.0, 0, 0, 0
    for tensor in tensors:
        values = tensor.flatten().float()
        part = float(values.sum())
        if not isfinite(part):  # Only then, because it takes several passes.
            nan += int(values.isnan().sum())
            infinite += int(values.isinf().sum())
            values = values[values.isfinite()]
            part = float(values.double().sum())
        if values.numel():
            least, most = values.aminmax()
            low.append(float(least))
            high.append(float(most))
            total += part
            count += values.numel()
    return dict(
        minimum=min(low, default=None),
        maximum=max(high, default=None),
        mean=total / count if count else None,
        nan=nan,
        infinite=infinite,
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{name} {count}' for name, count in counts.items())


def _variant(found: Inspection) -> str:
    if found.depths is None:
        return 'unknown: stages are missing'
    name = found.arch or 'not a published one'
    version = 'V2' if found.grn else 'V1'
    return f'{name}: ConvNeXt {version}, depths {found.depths}, channels {found.channels}'


def _backbone(found: Inspection) -> str:
    text = f'{found.backbone} tensors of stem and stages, {found.parameters:,} values with norms'
    if found.missing:
        text += f'\n{counted(len(found.missing), "tensor")} MISSING: {listed(found.missing)}'
    return text


def _final_norm(found: Inspection) -> str:
    if not found.final_norm:
        return 'none'
    if found.loads_final_norm:
        return 'trained on whole maps: loaded into norm3'
    return "trained on pooled features: loaded only with final_norm='load'"


def _values(found: Inspection) -> str:
    if found.minimum is None:
        return 'none is finite'
    text = f'from {found.minimum:.4g} to {found.maximum:.4g}, mean {found.mean:.4g}'
    bad = {'NaN': found.nan, 'INFINITE': found.infinite}
    wrong = ', '.join(f'{count:,} {name}' for name, count in bad.items() if count)
    return f'{text}; {wrong or "all finite"}'


def _use(source: str, found: Inspection) -> str:
    if found.depths is None or found.missing:
        return 'it cannot be loaded, because tensors are missing'
    arch = repr(found.arch)
    if not found.arch:
        arch = f'dict(depths={found.depths}, channels={found.channels}, grn={found.grn})'
    if found.in_channels != 3:
        arch += f', in_channels={found.in_channels}'
    lines = [
        'backbone=dict(',
        f"    type='convnext_mm.ConvNeXt', arch={arch},",
        f"    init_cfg=dict(type='ConvNeXtPretrained', checkpoint={source!r}))",
    ]
    if found.output_norms:
        lines.insert(0, f'{command("test")} CONFIG {source}; or in the config of a new model')
    return '\n'.join(lines)
