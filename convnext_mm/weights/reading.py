"""Read a weights file without running code from it, or say what the file is instead."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from convnext_mm.errors import WeightsError

# torch.save does not compress its zip archives. A file that unpacks to more than this many times
# its own size was made to fill the memory.
MAX_EXPANSION = 4
# Levels of nested dicts; an optimizer state has four.
MAX_DEPTH = 16
# Entries of all dicts together. A dict that is referenced from several places counts each time.
MAX_ENTRIES = 1_000_000

# The first bytes of files in the format before torch 1.6. OpenMMLab and timm still publish some.
_OLD_TORCH = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'

_OTHER_FILES = {  # first bytes, without white space and in lower case -> kind of file
    b'version https://git-lfs': 'a git-LFS pointer; run `git lfs pull` to get the weights',
    b'<': 'a web page; a log-in or error page was saved in place of the weights',
    b'{': 'JSON text, such as the error message of a server',
    b'\x1f\x8b': 'compressed with gzip; unpack it first',
    b'\x80': 'a pickle that torch.save did not write; such a file can run code and is not read',
}

# Training scripts save their arguments beside the weights. A Namespace only holds values.
torch.serialization.add_safe_globals([argparse.Namespace])


def read_file(path: Path, name: str) -> Mapping:
    """Read tensors by name, possibly inside further dicts and beside other plain values.

    The content of the file decides how it is read, not the suffix. PyTorch files, old and new, are
    read with ``weights_only=True``; safetensors need no such care.

    Args:
        path: The file.
        name: What the file is called in an error message.

    Raises:
        WeightsError: The file is of another kind, damaged, made to fill the memory, asks to run
            code, or has no tensors.
    """
    with path.open('rb') as file:
        head = file.read(512)
    if not head:
        raise WeightsError(f'{name}: the file is empty')
    if head.startswith(b'PK\x03\x04'):
        _check_archive(path, name)
        content = _read_torch(path, name)
    elif head[4:9] == b'\0\0\0\0{':  # The length of the JSON header in eight bytes, and the header.
        content = _read_safetensors(path, name)
    elif head.startswith(_OLD_TORCH):
        content = _read_torch(path, name)
    else:
        raise WeightsError(f'{name}: the file is {_other_kind(head)}')
    if not isinstance(content, Mapping):
        raise WeightsError(f'{name}: the file holds a {type(content).__name__}, no dict of tensors')
    tensors = list(_tensors(content, name))
    if not tensors:
        raise WeightsError(f'{name}: the file holds no tensors')
    for key, tensor in tensors:
        _check_memory(key, tensor, name)
    return content


def _other_kind(head: bytes) -> str:
    text = head.lstrip().lower()
    for start, kind in _OTHER_FILES.items():
        if text.startswith(start):
            return kind
    if head[257:262] == b'ustar':
        return 'a tar archive; unpack it first'
    return f'no weights file; it begins with {head[:16]!r}'


def _check_archive(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # A damaged directory leads to errors of many types.
        raise WeightsError(
            f'{name}: the file is incomplete or damaged ({error}); download or copy it again'
        ) from None
    unpacked, size = sum(member.file_size for member in members), path.stat().st_size
    if unpacked > MAX_EXPANSION * size:
        raise WeightsError(
            f'{name}: the file is refused: its {size:,} bytes unpack to {unpacked:,}; weights do '
            'not compress like this'
        )
    names = {member.filename.partition('/')[2] for member in members}
    if 'constants.pkl' in names:
        raise WeightsError(
            f'{name}: the file is a TorchScript program, which is code; save the state_dict() of '
            'the original model instead'
        )
    if 'data.pkl' not in names:
        raise WeightsError(f'{name}: the file is a zip archive that torch.save did not write')


def _read_torch(path: Path, name: str) -> object:
    # No mmap: a training that saves over the file would change the tensors, or end the process by
    # a bus error.
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused_pickle(name, error) from None
    except Exception as error:  # A wrong byte in a pickle leads to errors of many types.
        raise _damaged(name, str(error) or type(error).__name__) from error


def refused_pickle(name: str, error: pickle.UnpicklingError) -> WeightsError:
    """Return the error for a file that PyTorch refused, because it may run code or is damaged."""
    forbidden = re.search(r'GLOBAL (\S+)', str(error))
    if forbidden is None:
        return _damaged(name, str(error).partition('WeightsUnpickler error:')[2])
    return WeightsError(
        f'{name}: the file is refused: it asks for {forbidden[1]}, which is no tensor and may '
        'run code; save the state_dict() alone'
    )


def _read_safetensors(path: Path, name: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(name, str(error)) from None


def _damaged(name: str, reason: str) -> WeightsError:
    reason = reason.strip().partition('\n')[0] or 'its pickle is invalid'
    return WeightsError(f'{name}: the file is incomplete or damaged ({reason})')


def _tensors(content: Mapping, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of nested dicts with their dotted names."""
    level, entries = {id(content): ('', content, 1)}, 0
    for _ in range(MAX_DEPTH):
        inner = {}
        for prefix, mapping, places in level.values():
            entries += places * len(mapping)
            for key, value in mapping.items():
                path = f'{prefix}{key}'
                if isinstance(value, Tensor):
                    yield path, value
                elif isinstance(value, Mapping):
                    *_, others = inner.get(id(value), (0,))
                    inner[id(value)] = (f'{path}.', value, places + others)
        level = inner
        if not level:
            break
    if level or entries > MAX_ENTRIES:
        raise WeightsError(f'{name}: the file is refused: its dicts contain each other endlessly')


def _check_memory(key: str, tensor: Tensor, name: str) -> None:
    """Refuse a dense tensor that claims more values than the file holds."""
    if tensor.is_meta or tensor.layout is not torch.strided:
        return  # These are refused where a model needs their values.
    claimed, held = tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes()
    if claimed > held:
        raise WeightsError(
            f'{name}: the file is refused: {key} with shape {tuple(tensor.shape)} takes '
            f'{claimed:,} bytes, but the file holds {held:,}; save its contiguous() copy'
        )
