"""Results as MMDetection's pickle, with one dict for each image.

A pickle is a program that names functions to call. This module reads it with a table of its own
functions instead: they build arrays from bytes, and there is no other name that a file can reach.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import first_line

SUFFIXES = ('.pkl', '.pickle')


def read(path: Path) -> list[dict]:
    """Read the file that ``tools/test.py --out FILE.pkl`` wrote.

    Arrays and tensors become objects that ``numpy.asarray`` converts.

    Raises:
        UserError: The file holds something else, or names a function or a class.
    """
    try:
        with open(path, 'rb') as file:
            found = _ArraysOnly(file).load()
    except _ForbiddenError as error:
        raise UserError(
            f'{path} is refused: it asks for {error}, which is no array and may run code. '
            f'{command("test")} --out FILE.json writes results without this risk'
        ) from None
    except Exception as error:  # A wrong byte in a pickle leads to errors of many types.
        raise UserError(
            f'{path} was not written by {command("test")} --out: {first_line(error)}'
        ) from None
    if not (isinstance(found, list) and found and all(isinstance(r, dict) for r in found)):
        raise UserError(f'{path} was not written by {command("test")} --out: no list of dicts')
    return found


class _ForbiddenError(Exception):
    """The full name that a pickle asks for."""


class _ArraysOnly(pickle.Unpickler):
    """Unpickle plain containers, numpy arrays and tensors, and refuse every other name."""

    def find_class(self, module: str, name: str) -> Callable:
        build = _BUILDERS.get((module.replace('numpy.core', 'numpy._core'), name))
        if build is None:
            raise _ForbiddenError(f'{module}.{name}')
        # A new function each time: a pickle can set attributes of an object that it has.
        return lambda *arguments: build(*arguments)


class _Dtype:
    """A dtype of numbers. A numpy.dtype would take flags from the file, which can break numpy."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in 'biuf':
            raise ValueError(f'an array of {self.dtype}')

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array whose bytes come after it. It converts itself when numpy needs it."""

    def __init__(self) -> None:
        self._array = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, by_columns, data = state
        self._array = _array(data, dtype, shape, 'F' if by_columns else 'C')

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self._array if dtype is None else self._array.astype(dtype)


def _array(data: bytes, dtype: _Dtype, shape: Sequence[int], order: str = 'C') -> np.ndarray:
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise ValueError(f'an array of shape {shape} in {len(data)} bytes')
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return _array(data, dtype, ())[()]


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes, which old pickles write as text."""
    if encoding != 'latin1':
        raise ValueError(f'text in {encoding}')
    return text.encode('latin1')


def _storage(data: bytes) -> Tensor:
    """Return the flat tensor of a pickled torch storage."""
    try:
        storage = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:  # its text says how to run the code after all
        raise ValueError('a tensor that is damaged, or may run code') from None
    return torch.tensor([], dtype=storage.dtype).set_(storage)


def _tensor(flat: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object):
    if math.prod(size) > flat.numel():
        raise ValueError(f'a tensor of shape {tuple(size)} in {flat.numel()} values')
    return torch.as_strided(flat, size, stride, offset)


_BUILDERS = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('_codecs', 'encode'): _encode,
    ('__builtin__', 'bytes'): lambda: b'',
    ('numpy', 'ndarray'): _Array,
    ('numpy', 'dtype'): _Dtype,
    ('numpy._core.multiarray', '_reconstruct'): lambda *_: _Array(),
    ('numpy._core.multiarray', 'scalar'): _scalar,
    ('numpy._core.numeric', '_frombuffer'): _array,
    ('torch', 'Size'): tuple,
    ('torch.storage', '_load_from_bytes'): _storage,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
}
