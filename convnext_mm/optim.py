"""Layer-wise learning-rate decay as an MMEngine optimizer-wrapper constructor."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from convnext_mm.errors import SettingError
from convnext_mm.layer_decay import DECAY_TYPES, lr_scale

_PARAMWISE_KEYS = ('decay_rate', 'decay_type', 'num_layers', 'custom_keys')
_CUSTOM_KEYS = ('lr_mult', 'decay_mult')
# What torch.compile, DDP, activation checkpointing and FSDP put into a parameter's name.
_WRAPPERS = frozenset({'_orig_mod', 'module', '_checkpoint_wrapped_module', '_fsdp_wrapped_module'})


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor:
    """Give each ConvNeXt layer its own learning rate, smaller the nearer it is to the image.

    The backbone is found by what it is, not by its name: any module of the model with the methods
    ``layer_id`` and ``num_layers`` of :class:`convnext_mm.ConvNeXt`, under any name or wrapper, and
    several of them. Everything else trains at the base rate. Biases, 1-D parameters (norms, layer
    scale) and GRN's have no weight decay, the heads' included. Frozen parameters are left out.

    The optimizer refuses a checkpoint of other parameters, learning rates or accumulated batches.

    .. code-block:: python

        optim_wrapper = dict(
            type='AmpOptimWrapper',
            constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(decay_rate=0.7, decay_type='layer_wise'),
            optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.05))

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper, with the key ``optimizer``.
        paramwise_cfg: ``decay_rate``, in (0, 1]; ``decay_type``, ``'layer_wise'`` or
            ``'stage_wise'``; optionally ``num_layers``, which is derived from the backbone's
            depths and checked against them if given, and ``custom_keys``, a dict from a part of a
            parameter's name to ``dict(lr_mult=..., decay_mult=...)``, where the longest part wins.

    Raises:
        SettingError: A key or value of `paramwise_cfg` is unknown or contradicts the backbone, or
            the model holds no ConvNeXt.

    Source: the layer ids are the authors', see :mod:`convnext_mm.layer_decay`.
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
            raise SettingError('optim_wrapper: optimizer has no lr, which layer-wise decay scales')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer over the model's parameter groups, and its wrapper."""
        groups = self.param_groups(model)
        print_log(f'Layer-wise learning rates:\n{_table(groups)}', logger='current')
        # The iterations of a step ride along: on resuming they must be what they were.
        counts = self.optim_wrapper_cfg.get('accumulative_counts', 1)
        params = [dict(group.as_dict(), accumulative_counts=counts) for group in groups]
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=params))
        optimizer.register_load_state_dict_pre_hook(_refuse_other_groups)
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault('type', 'OptimWrapper')
        return OPTIM_WRAPPERS.build(wrapper_cfg, default_args=dict(optimizer=optimizer))

    def param_groups(self, model: nn.Module) -> list[ParamGroup]:
        """Sort every trainable parameter into exactly one group, ordered by learning rate."""
        layers = self._layers(model)
        heads = max(n for _, n in layers.values()) + 1
        base_lr = self.optimizer_cfg['lr']
        base_decay = self.optimizer_cfg.get('weight_decay', 0.0)
        groups: dict[tuple[float, float], ParamGroup] = {}
        unmatched = set(self.custom_keys)
        # named_parameters() names a shared parameter once.
        for name, param in model.named_parameters():
            if not param.requires_grad:
                continue
            name = _unwrapped(name)
            layer, n = layers.get(param, (heads, heads - 1))
            scale = lr_scale(layer, n, self.decay_rate)
            decay = 0.0 if param.ndim <= 1 or name.endswith('.bias') or '.grn.' in name else 1.0
            for key in sorted(self.custom_keys, key=len, reverse=True):
                if key in name:
                    unmatched.discard(key)
                    scale *= self.custom_keys[key].get('lr_mult', 1.0)
                    decay *= self.custom_keys[key].get('decay_mult', 1.0)
                    break
            group = groups.setdefault(
                (scale, decay), ParamGroup(scale, scale * base_lr, decay * base_decay)
            )
            group.layer_ids.add(layer)
            group.names.append(name)
            group.params.append(param)
        if unmatched:
            raise SettingError(
                f'paramwise_cfg: custom_keys {sorted(unmatched)} match no trainable parameter, or '
                'only ones that longer keys match'
            )
        return [groups[key] for key in sorted(groups)]

    def _layers(self, model: nn.Module) -> dict[nn.Parameter, tuple[int, int]]:
        """Layer id and N of each backbone parameter, whatever names the model has for it."""
        layers = {}
        for prefix, module in model.named_modules():
            # Of the type: a compiled module forwards the attributes of the one inside.
            if not (hasattr(type(module), 'layer_id') and hasattr(type(module), 'num_layers')):
                continue
            n = module.num_layers()
            if self.num_layers not in (None, n):
                raise SettingError(
                    f'paramwise_cfg: num_layers={self.num_layers!r} does not fit {prefix or "the"} '
                    f'backbone with depths {module.arch.depths}, whose layers are numbered up to '
                    f'{n}; give that, or leave num_layers out'
                )
            for name, param in module.named_parameters():
                layers[param] = (module.layer_id(_unwrapped(name), self.decay_type), n)
        if not layers:
            raise SettingError(
                f'{type(model).__name__} holds no ConvNeXt: layer-wise decay needs '
                "backbone=dict(type='convnext_mm.ConvNeXt', ...)"
            )
        return layers


@dataclass
class ParamGroup:
    """Parameters that share a learning rate and a weight decay.

    Layers share a group where their rates are equal: all of them at a decay rate of 1.
    """

    lr_scale: float
    lr: float
    weight_decay: float
    layer_ids: set[int] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    params: list[nn.Parameter] = field(default_factory=list)

    def as_dict(self) -> dict:
        """The group as torch's optimizers take it; scale, layer ids and names ride along."""
        return dict(
            params=self.params,
            param_names=self.names,
            layer_ids=sorted(self.layer_ids),
            lr=self.lr,
            lr_scale=self.lr_scale,
            weight_decay=self.weight_decay,
        )


def _unwrapped(name: str) -> str:
    return '.'.join(part for part in name.split('.') if part not in _WRAPPERS)


def _refuse_other_groups(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """On resuming, torch compares sizes only, and MMEngine's schedulers keep the saved rates."""
    own = _settings(optimizer.param_groups)
    saved = _settings(state['param_groups'])
    if saved and own != saved:
        here, there = next(
            pair for pair in zip_longest(own, saved, fillvalue='nothing') if pair[0] != pair[1]
        )
        raise SettingError(
            f'the checkpoint is of another optimizer: this one has {here}, and that one had '
            f'{there}. Resume with the model, frozen_stages, paramwise_cfg, learning rate and '
            '--accumulate or --auto-scale-lr of that run, on as many GPUs; or start from its '
            'weights alone: load_from, without resume'
        )


def _settings(param_groups: list[dict]) -> list[str]:
    """What the groups are set to, by parameter, in order; none for a foreign optimizer."""
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
            f'{where}: unknown key {", ".join(map(repr, unknown))}; allowed: {", ".join(allowed)}'
        )


def _table(groups: list[ParamGroup]) -> str:
    def rows() -> Iterator[str]:
        for group in groups:
            parameters = sum(p.numel() for p in group.params)
            yield (
                f'{span(group.layer_ids):>5} {group.lr_scale:>9.5f} {group.lr:>10.3g} '
                f'{group.weight_decay:>6g} {len(group.params):>8} {parameters:>12,}'
            )

    header = (
        f'{"layer":>5} {"lr scale":>9} {"lr":>10} {"decay":>6} {"tensors":>8} {"parameters":>12}'
    )
    return '\n'.join([header, *rows()])


def span(ids: Collection[int]) -> str:
    """Layer ids for a table: ``3``, or ``0-7`` for several of them."""
    return f'{min(ids)}-{max(ids)}' if len(ids) > 1 else str(*ids)
