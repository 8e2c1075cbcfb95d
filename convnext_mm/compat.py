"""Workarounds for versions of other packages that break OpenMMLab's packages.

- Since 2.6, torch refuses the checkpoints that MMEngine 0.10 writes. ``import convnext_mm`` calls
  :func:`allow_mmengine_checkpoints`, which registers their types with ``torch.load``.
- A current transformers, or a torchvision that does not match torch, breaks MMPretrain 1.2, and
  with it MMDetection, which needs MMPretrain for some models only. The libraries also warn of
  their own deprecations. :func:`apply_workarounds` deals with both. It changes the whole process,
  so ``import convnext_mm`` does not call it. Every command does, in
  :func:`convnext_mm.config.reading.load_config`.
- A classifier needs MMPretrain. :func:`import_mmpretrain` declares the operators of a torchvision
  that does not match torch, so that MMPretrain can be imported.
- MMEngine finds the base of a config, such as ``mmseg::...``, by the name of the distribution, and
  installs a distribution that it does not find. The maintained packages have other distribution
  names (``onedl-mmsegmentation``), so MMEngine would write the older package over their files.
  :func:`apply_workarounds` makes MMEngine look for the module instead, and never install.
"""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from convnext_mm.errors import UserError
from convnext_mm.recipes import PREFIX, recipe

# Warnings of the libraries about their own code. A user of this package cannot act on them.
_LIBRARY_WARNINGS = (
    'pkg_resources is deprecated',
    '``build_loss`` would be deprecated soon',
    'Default ``avg_non_ignore`` is False',
    'To copy construct from a tensor',
)


def apply_workarounds() -> None:
    """Change what breaks in the libraries, and silence their known warnings, in this process.

    A second call changes nothing. No package is imported.
    """
    find_packages_by_module()
    for message in _LIBRARY_WARNINGS:
        warnings.filterwarnings('ignore', message=message)
    keep_mmpretrain_optional()


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` with ``weights_only=True`` read the checkpoints that MMEngine writes.

    ``weights_only=True`` is the default since torch 2.6. Beside tensors, MMEngine's files hold its
    log history: :class:`HistoryBuffer` objects with numpy arrays. Without this function
    ``--resume`` fails with ``Weights only load failed``. Only these types are allowed, which run no
    code. A file with any other type is still refused.
    """
    from mmengine.logging import HistoryBuffer
    from numpy._core import multiarray

    # numpy 2 renamed the module, so a file may have either name.
    functions = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in (multiarray._reconstruct, multiarray.scalar)
        for core in ('core', '_core')
    ]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (_history_method, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *functions,
            *{type(np.dtype(kind)) for kind in '?bhilqBHILQefd'},
        ]
    )


def _history_method(owner: object, name: str) -> Callable:
    """Replace the ``getattr`` by which a pickled HistoryBuffer names its statistics functions.

    The real ``getattr`` would let a file reach any attribute of any object that it can name.
    """
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'refused: attribute {name!r} of {owner!r} in a checkpoint')
    return getattr(HistoryBuffer, name)


def find_packages_by_module() -> None:
    """Let MMEngine find packages by their module, and refuse instead of running pip."""
    replacements = (is_installed, get_installed_path, install_package)
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] == 'mmengine':
            for function in replacements:
                if function.__name__ in vars(module):
                    setattr(module, function.__name__, function)


def find_recipes() -> None:
    """Let MMEngine read ``_base_ = 'convnext_mm::cascade/convnext_t_coco.py'``.

    The functions in ``mmengine.hub`` find such a config as well. MMEngine has a fixed table of
    packages that may stand before ``::``. A package in this table is also the scope of the
    registries in which MMEngine looks for the classes of the base. The recipes are for the scope of
    MMDetection or MMSegmentation, so no scope is returned here.
    """
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE['convnext_mm'] = 'convnext_mm'
    find_others = Config._get_cfg_path

    def find(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return recipe(cfg_path), None
        package = MODULE2PACKAGE.get(cfg_path.partition('::')[0]) if '::' in cfg_path else None
        if package:
            install_package(package)  # MMEngine would advise the wrong family
        return find_others(cfg_path, filename)

    Config._get_cfg_path = staticmethod(find)


def is_installed(package: str) -> bool:
    """Return whether the module of an OpenMMLab distribution can be imported."""
    return _spec(package) is not None


def get_installed_path(package: str) -> str:
    """Return the folder of the module of an OpenMMLab distribution.

    Raises:
        UserError: It is not installed.
    """
    install_package(package)
    return str(Path(_spec(package).origin).parent)


def install_package(package: str) -> None:
    """Refuse to install a distribution.

    Raises:
        UserError: It is not installed.
    """
    if not is_installed(package):
        raise UserError(
            f'{_module(package)} is not installed: install {package}, or the maintained package '
            f'onedl-{_module(package)} if you have onedl-mmcv'
        )


def _spec(package: str) -> ModuleSpec | None:
    spec = importlib.util.find_spec(_module(package))
    return spec if spec is not None and spec.origin else None


def _module(package: str) -> str:
    from mmengine.config.utils import MODULE2PACKAGE

    return next((m for m, p in MODULE2PACKAGE.items() if p == package), package)


def keep_mmpretrain_optional() -> None:
    """Treat an MMPretrain that cannot be imported as one that is not installed.

    MMDetection imports MMPretrain under ``except ImportError``. With a torchvision built for
    another torch, the import raises a RuntimeError instead, and ``import mmdet.models`` fails.

    MMPretrain has multimodal models if transformers is installed, and a current transformers breaks
    them (``NoneType takes no arguments``). So MMPretrain does not find it.
    """
    if not any(isinstance(finder, _MMPretrainFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MMPretrainFinder())


def import_mmpretrain() -> None:
    """Import MMPretrain, which needs torchvision.

    The Python part of torchvision is enough: if its compiled part is for another torch, its
    operators are declared here. torchvision raises an error if one is used.

    Raises:
        UserError: MMPretrain or torchvision is missing, or cannot be imported.
    """
    for name in ('mmpretrain', 'torchvision'):
        if importlib.util.find_spec(name) is None:
            package = f'{name} (onedl-{name} if you have onedl-mmcv)' if name[:2] == 'mm' else name
            raise UserError(
                f'{name} is not installed, and classification needs it: pip install {package}, see '
                'docs/imagenet.md'
            )
    keep_mmpretrain_optional()
    _declare_torchvision_operators()
    try:
        for module in ('models', 'datasets', 'evaluation', 'engine', 'visualization'):
            importlib.import_module(f'mmpretrain.{module}')
    except (ImportError, AssertionError) as error:  # the latter for a version of MMCV
        reason = ' '.join(str(error).split())
        raise UserError(f'MMPretrain cannot be imported: {reason}. See docs/imagenet.md') from error


@contextmanager
def _without_distribution(hidden: str) -> Iterator[None]:
    """Let the functions by which MMPretrain looks for optional packages not find one of them."""

    def hide(find: Callable[[str], object], missing: type[Exception]) -> Callable[[str], object]:
        def find_others(name: str) -> object:
            if name == hidden:
                raise missing(name)
            return find(name)

        return find_others

    # MMPretrain takes the second one, and the maintained package the first.
    names = ('importlib.metadata', 'importlib_metadata')
    modules = [importlib.import_module(name) for name in names if importlib.util.find_spec(name)]
    found = [module.distribution for module in modules]
    for module, find in zip(modules, found, strict=True):
        module.distribution = hide(find, module.PackageNotFoundError)
    try:
        yield
    finally:
        for module, find in zip(modules, found, strict=True):
            module.distribution = find


def _declare_torchvision_operators() -> None:
    """Declare the operators that ``import torchvision`` names, if its compiled part has not."""
    if 'torchvision' in sys.modules:
        return
    try:
        importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'operator torchvision::' not in str(error):
            raise UserError(f'torchvision cannot be imported: {error}') from error
        _torchvision.append(library := torch.library.Library('torchvision', 'DEF'))
        for name in ('nms', 'qnms'):
            library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        importlib.import_module('torchvision')


_torchvision: list[torch.library.Library] = []  # A declaration ends with its library.


class _MMPretrainFinder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith('mmpretrain.'):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ImportErrorLoader(spec.loader)
        return spec


class _ImportErrorLoader(Loader):
    """Run a module and turn every exception into an ImportError."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)  # other methods, such as get_source

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        looks_for_packages = module.__name__ == 'mmpretrain.utils.dependency'
        try:
            with _without_distribution('transformers') if looks_for_packages else nullcontext():
                self._loader.exec_module(module)
        except ImportError:
            raise
        except Exception as error:
            raise ImportError(f'{module.__name__} cannot be imported: {error!r}') from error
