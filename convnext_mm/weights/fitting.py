"""Compare the tensors of a file and a model, and select the tensors of a backbone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convnext_mm.errors import WeightsError
from convnext_mm.messages.wording import such_as
from convnext_mm.weights.formats import BackboneState, arch_name, infer_arch

_STEM = 'downsample_layers.0.0.weight'
_RGB = 3
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Differences:
    """The names of tensors that differ between a model and a file.

    Attributes:
        missing: Tensors of the model that are not in the file.
        other_shape: Tensors with another shape in the file.
        unexpected: Tensors of the file that are not in the model.
    """

    missing: tuple[str, ...]
    other_shape: tuple[str, ...]
    unexpected: tuple[str, ...]

    def __str__(self) -> str:
        """Name the first tensors of each kind, as in ``2 tensors (a, b) missing``."""
        kinds = {
            'missing': self.missing,
            'of another shape': self.other_shape,
            'that the model does not have': self.unexpected,
        }
        return '; '.join(f'{such_as(names)} {kind}' for kind, names in kinds.items() if names)


def compare(model: Mapping[str, Tensor], file: Mapping[str, Tensor]) -> Differences:
    """Compare the tensors of a model and a file by name and shape."""
    return Differences(
        missing=tuple(name for name in model if name not in file),
        other_shape=tuple(n for n in model if n in file and file[n].shape != model[n].shape),
        unexpected=tuple(name for name in file if name not in model),
    )


def select_tensors(
    backbone: nn.Module, state: BackboneState, final_norm: str, adapt_stem: bool
) -> dict[str, Tensor]:
    """Return all tensors to load, with the names, shapes and types of the backbone.

    Args:
        backbone: A :class:`convnext_mm.ConvNeXt`, which may be on the meta device. It is not
            changed.
        state: The content of a file.
        final_norm: As for :class:`convnext_mm.ConvNeXtPretrained`.
        adapt_stem: As for :class:`convnext_mm.ConvNeXtPretrained`.

    Raises:
        WeightsError: The stem and stages are incomplete, a shape differs, or the values of a tensor
            cannot be weights. The message gives the likely reason.
    """
    own = backbone.state_dict()
    tensors = {name: value for name, value in state.tensors.items() if name in own}
    if final_norm == 'load' or (final_norm == 'auto' and state.loads_final_norm):
        if 'norm3.weight' in own and state.final_norm:
            tensors |= {f'norm3.{name}': value for name, value in state.final_norm.items()}
        elif final_norm == 'load':
            raise WeightsError(
                f"{state.source}: final_norm='load' needs a final norm in the file and the last "
                'stage of the backbone in out_indices'
            )
    _check_types(tensors, state.source)
    if _STEM in tensors:
        tensors[_STEM] = _stem(tensors[_STEM], own[_STEM], adapt_stem, state.source)

    # The output norms may be missing. Stages that the backbone does not build may be in the file.
    needed = {n: v for n, v in own.items() if not n.startswith('norm') or n in tensors}
    built = tuple(f'stages.{i}.' for i in range(len(backbone.stages)))
    given = {n: v for n, v in state.tensors.items() if n.startswith(built)} | tensors
    differences = str(compare(needed, given))
    if differences:
        raise WeightsError(
            f'{state.source} does not fit: {_likely_reason(backbone, state)}. '
            f'Nothing was loaded; found {differences}'
        )
    hollow = [name for name, value in tensors.items() if value.is_meta]
    if hollow:
        raise WeightsError(
            f'{state.source}: {such_as(hollow)} with a shape but no values. Nothing was loaded'
        )
    tensors = {name: value.to(own[name].dtype) for name, value in tensors.items()}
    infinite = [name for name, value in tensors.items() if not value.isfinite().all()]
    if infinite:
        raise WeightsError(
            f'{state.source}: {such_as(infinite)} with NaN or infinite values; did the training '
            'diverge? Nothing was loaded'
        )
    return tensors


def _check_types(tensors: Mapping[str, Tensor], source: str) -> None:
    for name, value in tensors.items():
        if value.dtype not in _FLOATS or value.layout != torch.strided:
            kind = str(value.dtype if value.dtype not in _FLOATS else value.layout)
            allowed = ', '.join(str(dtype).removeprefix('torch.') for dtype in _FLOATS)
            raise WeightsError(
                f'{source}: {name} is {kind.removeprefix("torch.")}; weights must be dense and '
                f'{allowed}. Nothing was loaded'
            )


def _stem(weight: Tensor, own: Tensor, adapt: bool, source: str) -> Tensor:
    """Return the (C, 3, 4, 4) weight of the stem for the channels of `own`.

    The rule is in :class:`convnext_mm.ConvNeXtPretrained`.
    """
    channels = own.shape[1]
    if weight.ndim != 4 or weight.shape[1] == channels or weight.shape[0] != own.shape[0]:
        return weight
    if not adapt or weight.shape[1] != _RGB:
        remedy = 'set adapt_stem=True of ConvNeXtPretrained to adapt weights of 3 channels'
        raise WeightsError(
            f'{source} is for images of {weight.shape[1]} channels, the model for '
            f'in_channels={channels}; '
            f'{remedy if weight.shape[1] == _RGB else "only weights of 3 channels can be adapted"}'
            '. Nothing was loaded'
        )
    weight = weight.to(own.dtype)
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [channel % _RGB for channel in range(channels)]] * (_RGB / channels)


def _likely_reason(backbone: nn.Module, state: BackboneState) -> str:
    own, given = _optional_layers(backbone.state_dict()), _optional_layers(state.tensors)
    if own['GRN'] != given['GRN']:
        version = {True: 'V2 (with GRN)', False: 'V1 (without GRN)'}
        return (
            f'the file holds a ConvNeXt {version[given["GRN"]]}, the model is a '
            f'{version[own["GRN"]]}; choose another arch'
        )
    held, model = infer_arch(state.tensors), backbone.arch
    if held is not None and held != model:
        names = [arch_name(arch) or f'a custom arch ({arch})' for arch in (held, model)]
        return f'the file holds {names[0]}, the model is {names[1]}'
    if own['layer scale'] and not given['layer scale']:
        return 'the model has a layer scale and the file has none; set layer_scale_init_value=0'
    if given['layer scale'] and not own['layer scale']:
        return 'the file has a layer scale and the model has none; set layer_scale_init_value=1.0'
    return 'the file is damaged or holds only a part of the backbone'


def _optional_layers(names: Iterable[str]) -> dict[str, bool]:
    """Return whether each layer that only some ConvNeXts have is among the names."""
    names = list(names)
    return {
        'GRN': any('.grn.' in name for name in names),
        'layer scale': any(re.fullmatch(r'stages\.\d+\.\d+\.gamma', name) for name in names),
    }
