"""Layer-wise learning rate decay as an MMEngine optimizer wrapper constructor and scheduler."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from mmengine.logging import print_log
from mmengine.optim import BaseOptimWrapper, OneCycleLR, OptimWrapper
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
)
from torch import nn

from convnext_mm.errors import SettingError
from convnext_mm.layer_decay import DECAY_TYPES, lr_scale

_PARAMWISE_KEYS = ('decay_rate', 'decay_type', 'num_layers', 'custom_keys')
_CUSTOM_KEYS = ('lr_mult', 'decay_mult')
# The name parts that torch.compile, DDP, activation checkpointing and FSDP add to parameters.
_WRAPPERS = frozenset({'_orig_mod', 'module', '_checkpoint_wrapped_module', '_fsdp_wrapped_module'})


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor:
    """Give each layer of a ConvNeXt its own learning rate, the lowest at the stem.

    A backbone is any module of the model with the methods ``layer_id`` and ``num_layers`` of
    :class:`convnext_mm.ConvNeXt`. It may have any name or wrapper, and there may be several. All
    other parameters have the base learning rate. Biases, 1-D parameters (norms, layer scale) and
    the parameters of GRN have no weight decay, in the heads as well. Frozen parameters are left
    out.

    On resuming, the optimizer raises an error if the checkpoint has other parameters, learning
    rates or accumulative counts.

    .. code-block:: python

        optim_wrapper = dict(
            type='AmpOptimWrapper',
            constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(decay_rate=0.7, decay_type='layer_wise'),
            optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.05))

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper, with the key ``optimizer``.
        paramwise_cfg: A dict with these keys:

            - ``decay_rate``: A number in (0, 1].
            - ``decay_type``: ``'layer_wise'`` or ``'stage_wise'``.
            - ``num_layers`` (optional): Must equal the N of the backbone, which follows from its
              depths.
            - ``custom_keys`` (optional): Maps a part of a parameter name to
              ``dict(lr_mult=..., decay_mult=...)``. If several parts match, the longest counts, and
              of equally long ones the first in the alphabet. A ``decay_mult`` also gives weight
              decay to parameters that have none otherwise, such as norms.

    Raises:
        SettingError: A key or value of `paramwise_cfg` is unknown or contradicts the backbone, or
            the model has no ConvNeXt.

    Source of the layer ids: the authors' code, see :mod:`convnext_mm.layer_decay`.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if 'optimizer' not in optim_wrapper_cfg:
            raise SettingError('optim_wrapper: the key optimizer is missing')
        paramwise_cfg = dict(paramwise_cfg or {})
        _check_keys('paramwise_cfg', paramwise_cfg, _PARAMWISE_KEYS)
        for key in ('decay_rate', 'decay_type'):
            if key not in paramwise_cfg:
                raise SettingError(f'paramwise_cfg: the key {key} is missing')
        self.decay_rate = paramwise_cfg['decay_rate']
        self.decay_type = paramwise_cfg['decay_type']
        self.num_layers = paramwise_cfg.get('num_layers')
        self.custom_keys = paramwise_cfg.get('custom_keys') or {}
        if not 0 < self.decay_rate <= 1:
            raise SettingError(f'paramwise_cfg: decay_rate={self.decay_rate!r} must be in (0, 1]')
        if self.decay_type not in DECAY_TYPES:
            raise SettingError(
                f'paramwise_cfg: decay_type={self.decay_type!r} is unknown; '
                f'allowed: {", ".join(DECAY_TYPES)}'
            )
        for key, mults in self.custom_keys.items():
            _check_keys(f'paramwise_cfg: custom_keys[{key!r}]', mults, _CUSTOM_KEYS)
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.optim_wrapper_cfg.pop('optimizer'))
        if 'lr' not in self.optimizer_cfg:
            raise SettingError('optim_wrapper: optimizer has no lr; layer-wise decay needs one')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer with the parameter groups of a model, and its wrapper."""
        groups = self.param_groups(model)
        print_log(f'Layer-wise learning rates:\n{_table(groups)}', logger='current')
        # Each group holds the accumulative count, so that it can be compared on resuming.
        counts = self.optim_wrapper_cfg.get('accumulative_counts', 1)
        params = [dict(group.as_dict(), accumulative_counts=counts) for group in groups]
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=params))
        optimizer.register_load_state_dict_pre_hook(_check_loaded_groups)
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault('type', 'OptimWrapper')
        return OPTIM_WRAPPERS.build(wrapper_cfg, default_args=dict(optimizer=optimizer))

    def param_groups(self, model: nn.Module) -> list[ParamGroup]:
        """Return groups with all trainable parameters, in the order of their learning rates."""
        layers = self._layers(model)
        heads = max(n for _, n in layers.values()) + 1
        base_lr = self.optimizer_cfg['lr']
        base_decay = self.optimizer_cfg.get('weight_decay', 0.0)
        groups: dict[tuple[float, float], ParamGroup] = {}
        unmatched = set(self.custom_keys)
        # named_parameters() yields a shared parameter once.
        for name, param in model.named_parameters():
            if not param.requires_grad:
                continue
            name = _without_wrappers(name)
            layer, n = layers.get(param, (heads, heads - 1))
            scale = lr_scale(layer, n, self.decay_rate)
            decay = 0.0 if param.ndim <= 1 or name.endswith('.bias') or '.grn.' in name else 1.0
            for key in sorted(self.custom_keys, key=lambda key: (-len(key), key)):
                if key in name:
                    unmatched.discard(key)
                    scale *= self.custom_keys[key].get('lr_mult', 1.0)
                    decay = self.custom_keys[key].get('decay_mult', decay)
                    break
            group = groups.setdefault(
                (scale, decay), ParamGroup(scale, scale * base_lr, decay * base_decay)
            )
            group.layer_ids.add(layer)
            group.names.append(name)
            group.params.append(param)
        if unmatched:
            raise SettingError(
                f'paramwise_cfg: custom_keys {sorted(unmatched)} have no effect: they match no '
                'trainable parameter, or longer keys match the same parameters'
            )
        return [groups[key] for key in sorted(groups)]

    def _layers(self, model: nn.Module) -> dict[nn.Parameter, tuple[int, int]]:
        """Return the layer id and N of each backbone parameter."""
        layers = {}
        for prefix, module in model.named_modules():
            # Ask the type, because a compiled module forwards the attributes of its inner module.
            if not (hasattr(type(module), 'layer_id') and hasattr(type(module), 'num_layers')):
                continue
            n = module.num_layers()
            if self.num_layers not in (None, n):
                raise SettingError(
                    f'paramwise_cfg: num_layers={self.num_layers!r} does not fit '
                    f'{prefix or "the backbone"}: the depths {module.arch.depths} give {n}; '
                    f'set num_layers={n} or leave it out'
                )
            for name, param in module.named_parameters():
                layers[param] = (module.layer_id(_without_wrappers(name), self.decay_type), n)
        if not layers:
            raise SettingError(
                f'{type(model).__name__} has no ConvNeXt: layer-wise decay needs '
                "backbone=dict(type='convnext_mm.ConvNeXt', ...)"
            )
        return layers


@PARAM_SCHEDULERS.register_module()
class LayerDecayOneCycleLR(OneCycleLR):
    """MMEngine's OneCycleLR with a peak for each parameter group.

    OneCycleLR gives all groups the same learning rate and so undoes layer-wise decay. Here, the
    peak of a group is `eta_max` times the factor between its learning rate and the base learning
    rate of the optimizer.

    Args:
        optimizer: The optimizer or its wrapper.
        eta_max: The peak of a parameter that has the base learning rate.
        args: The other arguments of OneCycleLR.
        kwargs: The other arguments of OneCycleLR.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | BaseOptimWrapper,
        *args: object,
        eta_max: float,
        **kwargs: object,
    ) -> None:
        base = getattr(optimizer, 'optimizer', optimizer).defaults['lr']
        peaks = [eta_max * g.get('initial_lr', g['lr']) / base for g in optimizer.param_groups]
        super().__init__(optimizer, *args, eta_max=peaks, **kwargs)


@dataclass
class ParamGroup:
    """Parameters with the same learning rate and weight decay.

    Layers with equal learning rates share a group. With a decay rate of 1 all layers do.
    """

    lr_scale: float
    lr: float
    weight_decay: float
    layer_ids: set[int] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    params: list[nn.Parameter] = field(default_factory=list)

    def as_dict(self) -> dict:
        """Return a torch.optim parameter group; names, layer ids and lr scale are extra keys."""
        return dict(
            params=self.params,
            param_names=self.names,
            layer_ids=sorted(self.layer_ids),
            lr=self.lr,
            lr_scale=self.lr_scale,
            weight_decay=self.weight_decay,
        )


def _without_wrappers(name: str) -> str:
    return '.'.join(part for part in name.split('.') if part not in _WRAPPERS)


def _check_loaded_groups(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Raise an error if a checkpoint has other groups.

    torch compares only the sizes of the groups, and MMEngine's schedulers would continue with the
    saved learning rates.
    """
    own = _settings(optimizer.param_groups)
    saved = _settings(state['param_groups'])
    if saved and own != saved:
        this, other = next(
            pair
            for pair in zip_longest(own, saved, fillvalue='no more parameters')
            if pair[0] != pair[1]
        )
        raise SettingError(
            'the optimizer of the checkpoint has other settings: this optimizer has '
            f'{this}, the checkpoint has {other}. Resume with the same model, frozen_stages, '
            'paramwise_cfg, learning rate, --accumulate or --auto-scale-lr and number of GPUs; or '
            'load only its weights with load_from, without resume'
        )


def _settings(param_groups: list[dict]) -> list[str]:
    """Return a text with the settings of each parameter; nothing for other constructors."""
    return [
        f'{name} at {group.get("initial_lr", group["lr"]):.5g} with a step every '
        f'{group["accumulative_counts"]} iterations'
        for group in param_groups
        if 'accumulative_counts' in group
        for name in group['param_names']
    ]


def _check_keys(where: str, given: dict, allowed: tuple[str, ...]) -> None:
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise SettingError(
            f'{where}: unknown key {", ".join(map(repr, unknown))}; allowed: {", ".join(allowed)}. '
            'If a base config has it, replace the whole dict: dict(_delete_=True, ...)'
        )


def _table(groups: list[ParamGroup]) -> str:
    def rows() -> Iterator[str]:
        for group in groups:
            parameters = sum(p.numel() for p in group.params)
            yield (
                f'{format_layer_ids(group.layer_ids):>5} {group.lr_scale:>9.5f} {group.lr:>10.3g} '
                f'{group.weight_decay:>6g} {len(group.params):>8} {parameters:>12,}'
            )

    header = (
        f'{"layer":>5} {"lr scale":>9} {"lr":>10} {"decay":>6} {"tensors":>8} {"parameters":>12}'
    )
    return '\n'.join([header, *rows()])


def format_layer_ids(ids: Collection[int]) -> str:
    """Return layer ids as a text for a table: ``3``, or ``0-7`` for several ids."""
    return f'{min(ids)}-{max(ids)}' if len(ids) > 1 else str(*ids)
