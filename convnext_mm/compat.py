"""What current PyTorch and numpy versions break in MMEngine 0.10, mended in one place."""

from __future__ import annotations

import pickle
from collections.abc import Callable

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
