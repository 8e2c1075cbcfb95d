"""Which of a file's tensors go where in a backbone; whatever does not fit is an error (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from convnext_mm.messages.wording import such_as
from convnext_mm.weights.formats import BackboneState, arch_name, infer_arch

_STEM = 'downsample_layers.0.0.weight'
_RGB = 3
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def fitting_tensors(
    backbone: nn.Module, state: BackboneState, final_norm: str, adapt_stem: bool
) -> dict[str, Tensor]:
    """All that is to be loaded: tensors under the backbone's names, with its shapes and types.

    Args:
        backbone: A :class:`convnext_mm.ConvNeXt`, which may be on the meta device; not changed.
        state: What a file holds.
        final_norm: As for :class:`convnext_mm.ConvNeXtPretrained`.
        adapt_stem: As for :class:`convnext_mm.ConvNeXtPretrained`.

    Raises:
        ValueError: Stem and stages are not complete, a shape differs, or a tensor's values cannot
            be weights. The message gives the likely reason.
    """
    own = backbone.state_dict()
    tensors = {name: value for name, value in state.tensors.items() if name in own}
    if final_norm == 'load' or (final_norm == 'auto' and state.loads_final_norm):
        if 'norm3.weight' in own and state.final_norm:
            tensors |= {f'norm3.{name}': value for name, value in state.final_norm.items()}
        elif final_norm == 'load':
            raise ValueError(
                "final_norm='load' needs a final norm in the file and the backbone's last stage "
                'in out_indices'
            )
    _check_types(tensors)
    if _STEM in tensors:
        tensors[_STEM] = _stem(tensors[_STEM], own[_STEM], adapt_stem)

    built = tuple(f'stages.{i}.' for i in range(len(backbone.stages)))
    problems = {
        'missing': [n for n in own if not n.startswith('norm') and n not in tensors],
        'of another shape': [n for n, value in tensors.items() if value.shape != own[n].shape],
        # Deeper stages, or the other version's layer scale or GRN.
        'without a place': [n for n in state.tensors if n.startswith(built) and n not in own],
    }
    if any(problems.values()):
        found = '; '.join(f'{such_as(n)} {what}' for what, n in problems.items() if n)
        raise ValueError(
            f'the weights do not fit: {_likely_reason(backbone, state)}. '
            f'Nothing was loaded; found {found}'
        )
    hollow = [name for name, value in tensors.items() if value.is_meta]
    if hollow:
        raise ValueError(f'{such_as(hollow)} with a shape but no values. Nothing was loaded')
    tensors = {name: value.to(own[name].dtype) for name, value in tensors.items()}
    infinite = [name for name, value in tensors.items() if not value.isfinite().all()]
    if infinite:
        raise ValueError(
            f'{such_as(infinite)} with NaN or infinite values; '
            'the training they come from diverged? Nothing was loaded'
        )
    return tensors


def _check_types(tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if value.dtype not in _FLOATS or value.layout != torch.strided:
            kind = str(value.dtype if value.dtype not in _FLOATS else value.layout)
            allowed = ', '.join(str(dtype).removeprefix('torch.') for dtype in _FLOATS)
            raise ValueError(
                f'{name} is {kind.removeprefix("torch.")}; weights are dense and {allowed}. '
                'Nothing was loaded'
            )


def _stem(weight: Tensor, own: Tensor, adapt: bool) -> Tensor:
    """The stem's (C, 3, 4, 4) weight for `own`'s channels; see :class:`ConvNeXtPretrained`."""
    wanted = own.shape[1]
    if weight.ndim != 4 or weight.shape[1] == wanted or weight.shape[0] != own.shape[0]:
        return weight
    if not adapt or weight.shape[1] != _RGB:
        can = 'adapt_stem=True of ConvNeXtPretrained makes weights of 3 fit'
        raise ValueError(
            f'the weights are for images of {weight.shape[1]} channels and in_channels={wanted}; '
            f'{can if weight.shape[1] == _RGB else "only weights of 3 can be adapted"}. '
            'Nothing was loaded'
        )
    weight = weight.to(own.dtype)
    if wanted == 1:
        return weight.sum(dim=1, keepdim=True)
    turns = [channel % _RGB for channel in range(wanted)]
    return weight[:, turns] * (_RGB / wanted)


def _likely_reason(backbone: nn.Module, state: BackboneState) -> str:
    own, given = _layers(backbone.state_dict()), _layers(state.tensors)
    if own['GRN'] != given['GRN']:
        version = {True: 'V2 (with GRN)', False: 'V1 (without GRN)'}
        return (
            f'the file holds a ConvNeXt {version[given["GRN"]]}, the model is a '
            f'{version[own["GRN"]]}; choose its arch accordingly'
        )
    held, model = infer_arch(state.tensors), backbone.arch
    if held is not None and held != model:
        names = [arch_name(arch) or f'a custom arch ({arch})' for arch in (held, model)]
        return f'the file holds {names[0]}, the model is {names[1]}'
    if own['layer scale'] and not given['layer scale']:
        return 'the model has a layer scale and the file none; give layer_scale_init_value=0'
    if given['layer scale'] and not own['layer scale']:
        return 'the file has a layer scale and the model none; give layer_scale_init_value=1.0'
    return 'a part of the backbone only, or damaged'


def _layers(names: Iterable[str]) -> dict[str, bool]:
    """Which of the layers that not every ConvNeXt has are among a backbone's names."""
    names = list(names)
    return {
        'GRN': any('.grn.' in name for name in names),
        'layer scale': any(re.fullmatch(r'stages\.\d+\.\d+\.gamma', name) for name in names),
    }
