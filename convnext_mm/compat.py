"""What current versions of other packages break in OpenMMLab's, mended in one place.

- torch >= 2.6 refuses the checkpoints MMEngine 0.10 writes: :func:`allow_mmengine_checkpoints`.
- A current transformers, or a torchvision that does not match torch, breaks MMPretrain 1.2, and
  with it MMDetection, for which it is optional: :func:`keep_mmpretrain_optional`.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` with ``weights_only=True`` read the checkpoints MMEngine writes.

    Since torch 2.6 that is the default, and MMEngine's files hold, beside tensors, its log history:
    :class:`HistoryBuffer` objects with numpy arrays. Without this, ``--resume`` ends in
    ``Weights only load failed``. Only these inert types are allowed; a file that wants to run
    anything else is still refused.
    """
    arrays = getattr(np, '_core', None) or np.core  # renamed in numpy 2
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (_history_method, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            arrays.multiarray._reconstruct,
            arrays.multiarray.scalar,
            *{type(np.dtype(kind)) for kind in '?bhilqBHILQefd'},
        ]
    )


def _history_method(owner: object, name: str) -> Callable:
    """Stands in for the ``getattr`` with which a pickled HistoryBuffer refers to its statistics.

    The real one would let a file reach any attribute of what it can already name.
    """
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'refused: attribute {name!r} of {owner!r} in a checkpoint')
    return getattr(HistoryBuffer, name)


def keep_mmpretrain_optional() -> None:
    """Make an MMPretrain that cannot be imported count as one that is not installed.

    MMDetection imports it under ``except ImportError``. With a current transformers the import
    ends in a TypeError instead (``NoneType takes no arguments``), with a torchvision built for
    another torch in a RuntimeError, and ``import mmdet.models`` fails. Nothing is imported here.
    """
    if not any(isinstance(finder, _MMPretrainFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MMPretrainFinder())


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
    """Runs a module and reports whatever goes wrong as an ImportError."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)  # the loader's other services, such as its source

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self._loader.exec_module(module)
        except ImportError:
            raise
        except Exception as error:
            raise ImportError(f'{module.__name__} cannot be imported: {error!r}') from error
