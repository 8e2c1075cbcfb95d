"""What a weights file is, from its tensors alone: no model is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite

import torch
from torch import Tensor

from convnext_mm.archs import NUM_STAGES, Arch
from convnext_mm.errors import UserError
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.formats import Network, arch_name, find_network, infer_arch
from convnext_mm.weights.names import OFFICIAL, to_theirs


@dataclass(frozen=True)
class Inspection:
    """Facts about a checkpoint with a ConvNeXt in it; names and counts are of tensors.

    Attributes:
        format: Name of the format.
        project: Whose names it has.
        where: What stood before the network's names, wrappers included.
        arch: Name of the published variant, or None for a network of another shape.
        depths, channels, grn: Its shape; None if stages are missing.
        in_channels: Channels of the image.
        backbone: Tensors of stem and stages.
        missing: Our names of those of the variant that are not in the file. (If whole stages are,
            there is no variant to compare with.)
        parameters: Number of values in stem, stages and norms.
        output_norms: Stages with an output norm.
        final_norm: Whether there is a classifier's or trunk's last norm.
        loads_final_norm: Whether ``final_norm='auto'`` loads it.
        others: Tensors outside the backbone, by their module (``neck``, ``head``).
        dtypes: Tensors of the backbone by type.
        minimum, maximum, mean: Of all finite values in the backbone.
        nan, infinite: How many values are not finite.
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
    """Inspect what :func:`~convnext_mm.weights.files.read_checkpoint` reads.

    Raises:
        UserError: It cannot be read, or there is no ConvNeXt in it.
    """
    try:
        checkpoint = read_checkpoint(source)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error
    try:
        return inspect(checkpoint)
    except ValueError as error:
        raise UserError(f'{source}: {error}') from error


def inspect(checkpoint: Mapping) -> Inspection:
    """The facts about what a file holds.

    Raises:
        ValueError: There is no ConvNeXt in it, or more than one to choose from, or a tensor of it
            has no values to look at.
    """
    network = find_network(checkpoint)
    tensors = network.tensors
    own = {name: t for name, t in tensors.items() if not name.startswith('head.')}
    for name, tensor in own.items():
        if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
            kind = "on the device 'meta'" if tensor.is_meta else f'{tensor.layout}, {tensor.dtype}'
            raise ValueError(f'{name} is {kind}; weights are dense, with a value at each place')
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
    """The facts for a reader, with what to do with the file."""
    rows = {
        'format': f'{found.format} ({found.project})',
        'found at': found.where or 'the top',
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
    """The facts as plain values."""
    return asdict(found)


def _missing(arch: Arch | None, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Our names of the stem and stages of a variant that are not there."""
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
    """Counts of what is beside the network, by module, the classifier's last layer first."""
    head = sum(name.startswith('head.') for name in network.tensors)
    root = network.prefix.removesuffix('backbone.')
    modules = Counter(name.removeprefix(root).split('.')[0] for name in network.others)
    return ({'classifier': head} if head else {}) | dict(modules)


def _statistics(tensors: Iterable[Tensor]) -> dict[str, float | None]:
    """Range and mean of all finite values, and how many are not."""
    low, high, total, count, nan, infinite = [], [], 0.0, 0, 0, 0
    for tensor in tensors:
        values = tensor.flatten().float()
        part = float(values.sum())
        if not isfinite(part):  # looked into only then: it takes several passes
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
        return 'stages are missing'
    name = found.arch or 'none that is published'
    version = 'V2' if found.grn else 'V1'
    return f'{name}: ConvNeXt {version}, depths {found.depths}, channels {found.channels}'


def _backbone(found: Inspection) -> str:
    text = f'{found.backbone} tensors of stem and stages, {found.parameters:,} values with norms'
    if found.missing:
        text += f'\n{len(found.missing)} MISSING, such as {found.missing[0]}'
    return text


def _final_norm(found: Inspection) -> str:
    if not found.final_norm:
        return 'none'
    if found.loads_final_norm:
        return 'there, trained on the maps too: loaded into norm3'
    return "there, for pooled features: not loaded, unless by final_norm='load'"


def _values(found: Inspection) -> str:
    if found.minimum is None:
        return 'none that is finite'
    text = f'from {found.minimum:.4g} to {found.maximum:.4g}, mean {found.mean:.4g}'
    bad = {'NaN': found.nan, 'INFINITE': found.infinite}
    wrong = ', '.join(f'{count:,} {name}' for name, count in bad.items() if count)
    return f'{text}; {wrong or "all finite"}'


def _use(source: str, found: Inspection) -> str:
    if found.depths is None or found.missing:
        return 'it does not load: tensors are missing'
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
        lines.insert(0, f'tools/test.py CONFIG {source}; or for a new model')
    return '\n'.join(lines)
