"""Layer-wise learning-rate decay as an MMEngine optimizer-wrapper constructor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from convnext_mm.layer_decay import DECAY_TYPES, lr_scale

_PARAMWISE_KEYS = ('decay_rate', 'decay_type', 'num_layers', 'custom_keys')
_CUSTOM_KEYS = ('lr_mult', 'decay_mult')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor:
    """Give each ConvNeXt layer its own learning rate, smaller the nearer it is to the image.

    The backbone is found by what it is, not by its name: any module of the model with the methods
    ``layer_id`` and ``num_layers`` of :class:`convnext_mm.ConvNeXt`, under any prefix, and several
    of them. Everything else trains at the base rate. Biases, 1-D parameters (norms, layer scale)
    and GRN's have no weight decay, the heads' included. Frozen parameters are left out.

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
        ValueError: A key or value of `paramwise_cfg` is unknown or contradicts the backbone, or
            the model holds no ConvNeXt.

    Source: the layer ids are the authors', see :mod:`convnext_mm.layer_decay`.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if 'optimizer' not in optim_wrapper_cfg:
            raise ValueError('optim_wrapper: the key optimizer is missing')
        paramwise_cfg = dict(paramwise_cfg or {})
        _check_keys('paramwise_cfg', paramwise_cfg, _PARAMWISE_KEYS)
        for key in ('decay_rate', 'decay_type'):
            if key not in paramwise_cfg:
                raise ValueError(f'paramwise_cfg: the key {key} is missing')
        self.decay_rate = paramwise_cfg['decay_rate']
        self.decay_type = paramwise_cfg['decay_type']
        self.num_layers = paramwise_cfg.get('num_layers')
        self.custom_keys = paramwise_cfg.get('custom_keys') or {}
        if not 0 < self.decay_rate <= 1:
            raise ValueError(f'paramwise_cfg: decay_rate={self.decay_rate!r} must be in (0, 1]')
        if self.decay_type not in DECAY_TYPES:
            raise ValueError(
                f'paramwise_cfg: decay_type={self.decay_type!r} is unknown; '
                f'allowed: {", ".join(DECAY_TYPES)}'
            )
        for key, mults in self.custom_keys.items():
            _check_keys(f'paramwise_cfg: custom_keys[{key!r}]', mults, _CUSTOM_KEYS)
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.optim_wrapper_cfg.pop('optimizer'))
        if 'lr' not in self.optimizer_cfg:
            raise ValueError('optim_wrapper: optimizer has no lr, which layer-wise decay scales')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer over the model's parameter groups, and its wrapper."""
        if hasattr(model, 'module'):  # a DDP or EMA wrapper
            model = model.module
        groups = self.param_groups(model)
        print_log(_table(groups), logger='current')
        optimizer_cfg = dict(self.optimizer_cfg, params=[g.as_dict() for g in groups])
        wrapper_cfg = dict(self.optim_wrapper_cfg)
        wrapper_cfg.setdefault('type', 'OptimWrapper')
        return OPTIM_WRAPPERS.build(
            wrapper_cfg, default_args=dict(optimizer=OPTIMIZERS.build(optimizer_cfg))
        )

    def param_groups(self, model: nn.Module) -> list[ParamGroup]:
        """Sort every trainable parameter into exactly one group, ordered by learning rate."""
        backbones = {
            prefix: module
            for prefix, module in model.named_modules()
            if hasattr(module, 'layer_id') and hasattr(module, 'num_layers')
        }
        if not backbones:
            raise ValueError(
                f'{type(model).__name__} holds no ConvNeXt: layer-wise decay needs '
                "backbone=dict(type='convnext_mm.ConvNeXt', ...)"
            )
        for prefix, backbone in backbones.items():
            if self.num_layers not in (None, backbone.num_layers()):
                raise ValueError(
                    f'paramwise_cfg: num_layers={self.num_layers!r} does not fit {prefix or "the"} '
                    f'backbone with depths {backbone.arch.depths}, whose layers are numbered up to '
                    f'{backbone.num_layers()}; give that, or leave num_layers out'
                )
        base_lr = self.optimizer_cfg['lr']
        base_decay = self.optimizer_cfg.get('weight_decay', 0.0)
        groups: dict[tuple[float, float], ParamGroup] = {}
        unmatched = set(self.custom_keys)
        # named_parameters() names a shared parameter once.
        for name, param in model.named_parameters():
            if not param.requires_grad:
                continue
            scale = self._lr_scale(name, backbones)
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
            group.names.append(name)
            group.params.append(param)
        if unmatched:
            raise ValueError(
                f'paramwise_cfg: custom_keys {sorted(unmatched)} match no trainable parameter, or '
                'only ones that longer keys match'
            )
        return [groups[key] for key in sorted(groups)]

    def _lr_scale(self, name: str, backbones: dict[str, nn.Module]) -> float:
        for prefix, backbone in backbones.items():
            if name.startswith(f'{prefix}.' if prefix else ''):
                layer = backbone.layer_id(name[len(prefix) :].lstrip('.'), self.decay_type)
                return lr_scale(layer, backbone.num_layers(), self.decay_rate)
        return 1.0


@dataclass
class ParamGroup:
    """Parameters that share a learning rate and a weight decay."""

    lr_scale: float
    lr: float
    weight_decay: float
    names: list[str] = field(default_factory=list)
    params: list[nn.Parameter] = field(default_factory=list)

    def as_dict(self) -> dict:
        """The group as torch's optimizers take it; ``lr_scale`` and the names ride along."""
        return dict(
            params=self.params,
            param_names=self.names,
            lr=self.lr,
            lr_scale=self.lr_scale,
            weight_decay=self.weight_decay,
        )


def _check_keys(where: str, given: dict, allowed: tuple[str, ...]) -> None:
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise ValueError(
            f'{where}: unknown key {", ".join(map(repr, unknown))}; allowed: {", ".join(allowed)}'
        )


def _table(groups: list[ParamGroup]) -> str:
    def rows() -> Iterator[str]:
        for group in groups:
            parameters = sum(p.numel() for p in group.params)
            yield (
                f'{group.lr_scale:>9.5f} {group.lr:>10.3g} {group.weight_decay:>6g} '
                f'{len(group.params):>8} {parameters:>12,}'
            )

    header = f'{"lr scale":>9} {"lr":>10} {"decay":>6} {"tensors":>8} {"parameters":>12}'
    return '\n'.join(['Layer-wise learning rates:', header, *rows()])
