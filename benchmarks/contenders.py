"""ConvNeXt backbones of several projects for the benchmarks. All return four maps.

:func:`contenders` returns the ones that can be imported. ``make setup`` installs timm and
torchvision in ``.venv/peers``, and MMPretrain in ``.venv``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convnext_mm import ARCHS, ConvNeXt
from convnext_mm.ops import RECOMPUTE_LEVELS

DROP_PATH = 0.4


def contenders(
    arch: str, backend: str | None = None
) -> tuple[dict[str, Callable[[], nn.Module]], dict[str, str]]:
    """Return builders by name, first the authors' backbone, and the reason for each missing one.

    Args:
        arch: A V1 variant.
        backend: The backend of torch.compile. With one, timm and ours are also there compiled.
    """
    makers = {
        'official': lambda: Official(arch),
        'MMPretrain': _mmpretrain(arch),
        'timm': _timm(arch),
        'torchvision': _torchvision(arch),
        **{f'ours, {level}': _ours(arch, recompute=level) for level in RECOMPUTE_LEVELS},
    }
    if backend:
        makers['timm, compiled'] = _compiled(makers['timm'], backend)
        makers['ours, compiled'] = _ours(arch, compile=dict(backend=backend))
    missing = {name: maker for name, maker in makers.items() if isinstance(maker, str)}
    return {name: m for name, m in makers.items() if name not in missing}, missing


def _ours(arch: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: ConvNeXt(arch, drop_path_rate=DROP_PATH, layer_scale_init_value=1.0, **settings)


def _compiled(maker: Callable[[], nn.Module] | str, backend: str) -> Callable[[], nn.Module] | str:
    def build() -> nn.Module:
        model = maker()
        model.compile(backend=backend)
        return model

    return maker if isinstance(maker, str) else build


# --- the authors' ---------------------------------------------------------------------------------


class Official(nn.Module):
    """The authors' backbone, written again with the same operations, order and memory layout.

    Source: facebookresearch/ConvNeXt, ``object_detection/mmdet/models/backbones/convnext.py``.
    """

    def __init__(self, arch: str) -> None:
        super().__init__()
        depths, dims = ARCHS[arch].depths, ARCHS[arch].channels
        rates = torch.linspace(0, DROP_PATH, sum(depths)).split(list(depths))
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), _ChannelsFirstNorm(dims[0]))]
            + [
                nn.Sequential(_ChannelsFirstNorm(a), nn.Conv2d(a, b, 2, 2))
                for a, b in pairwise(dims)
            ]
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(_OfficialBlock(dim, float(rate)) for rate in stage))
            for dim, stage in zip(dims, rates)
        )
        self.norms = nn.ModuleList(_ChannelsFirstNorm(dim) for dim in dims)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outs = []
        for downsample, stage, norm in zip(self.downsample_layers, self.stages, self.norms):
            x = stage(downsample(x))
            outs.append(norm(x))
        return tuple(outs)


class _ChannelsFirstNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class _OfficialBlock(nn.Module):
    def __init__(self, dim: int, rate: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(self.norm(y))))
        y = y.permute(0, 3, 1, 2)
        if self.training and self.rate:
            keep = 1 - self.rate
            mask = keep + torch.rand((len(x), 1, 1, 1), dtype=x.dtype, device=x.device)
            y = y.div(keep) * mask.floor_()
        return x + y


# --- packages -------------------------------------------------------------------------------------


class _Maps(nn.Module):
    """The four maps of a model, each with a LayerNorm as in the backbone of a detector."""

    def __init__(self, model: nn.Module, maps: Callable, arch: str) -> None:
        super().__init__()
        self.model, self.maps = model, maps
        self.norms = nn.ModuleList(nn.LayerNorm(c, eps=1e-6) for c in ARCHS[arch].channels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.maps(self.model, x)
        return tuple(
            norm(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for norm, m in zip(self.norms, maps)
        )


def _peers() -> None:
    peers = Path(sys.prefix) / 'peers'
    if peers.is_dir() and str(peers) not in sys.path:
        sys.path.append(str(peers))
        # torchvision's compiled extension is not there for every torch. Define its operators.
        library = torch.library.Library('torchvision', 'DEF')
        for name in ('nms', 'qnms'):
            library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        _peers.library = library  # the operators exist as long as this object


def _mmpretrain(arch: str) -> Callable[[], nn.Module] | str:
    _peers()
    try:
        import importlib_metadata

        found = importlib_metadata.distribution
        # With transformers it imports multimodal models, which fail with current versions.
        importlib_metadata.distribution = _without_transformers(found, importlib_metadata)
        try:
            from mmpretrain.models import ConvNeXt as Theirs
        finally:
            importlib_metadata.distribution = found
    except Exception as error:  # its optional parts raise many types
        return f'{type(error).__name__}: {error}'
    return lambda: Theirs(
        arch,
        drop_path_rate=DROP_PATH,
        layer_scale_init_value=1.0,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
    )


def _without_transformers(find: Callable, importlib_metadata: ModuleType) -> Callable:
    def distribution(name: str) -> object:
        if name == 'transformers':
            raise importlib_metadata.PackageNotFoundError(name)
        return find(name)

    return distribution


def _timm(arch: str) -> Callable[[], nn.Module] | str:
    _peers()
    try:
        import timm
    except ImportError as error:
        return str(error)

    def build() -> nn.Module:
        model = timm.create_model(
            f'convnext_{arch}', features_only=True, drop_path_rate=DROP_PATH, ls_init_value=1.0
        )
        return _Maps(model, lambda model, x: model(x), arch)

    return build


def _torchvision(arch: str) -> Callable[[], nn.Module] | str:
    _peers()
    try:
        from torchvision.models import convnext
    except ImportError as error:
        return str(error)

    def maps(features: nn.Module, x: Tensor) -> list[Tensor]:
        out = []
        for i, layer in enumerate(features):
            x = layer(x)
            if i % 2:  # the stages have odd indices
                out.append(x)
        return out

    def build() -> nn.Module:
        model = getattr(convnext, f'convnext_{arch}')(stochastic_depth_prob=DROP_PATH)
        return _Maps(model.features, maps, arch)

    return build
