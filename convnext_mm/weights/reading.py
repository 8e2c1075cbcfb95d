"""Read a weights file without running what may be in it, or say what it is instead."""

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

# torch.save writes its zip archives uncompressed, and weights hardly compress: what unpacks to more
# than this many times its size was made to fill the memory.
MAX_EXPANSION = 4
# Dicts inside dicts; an optimizer's state takes four.
MAX_DEPTH = 16
# Entries of all dicts, one that is held in several places counted for each of them.
MAX_ENTRIES = 1_000_000

# What files that torch.save wrote before its zip format (torch 1.6) begin with; OpenMMLab and timm
# still publish such.
_OLD_TORCH = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'

_NO_WEIGHTS = {  # a file's first bytes, without white space and in lower case -> what it is
    b'version https://git-lfs': 'a git-LFS pointer; get the file it stands for with `git lfs pull`',
    b'<': 'a web page; a log-in or error page was saved in place of the file',
    b'{': 'JSON text, such as the error message of a server',
    b'\x1f\x8b': 'compressed with gzip; unpack it first',
    b'\x80': 'a pickle that torch.save did not write; such files can run code and are not read',
}

# Training scripts, the authors' included, put their arguments beside the weights. A Namespace holds
# values and does nothing.
torch.serialization.add_safe_globals([argparse.Namespace])


def read_tensors(path: Path) -> Mapping:
    """What a file holds: tensors by name, possibly wrapped in dicts and beside other plain values.

    The content decides what is read, whatever the file is called: torch.save's files, old and new,
    always with ``weights_only=True``, and safetensors.

    Raises:
        ValueError: It is something else, damaged, made to fill the memory or wants to run code, or
            has no tensors. The message says which.
    """
    with path.open('rb') as file:
        head = file.read(512)
    if not head:
        raise ValueError('the file is empty')
    if head.startswith(b'PK\x03\x04'):
        _check_archive(path)
        content = _read_torch(path)
    elif head[4:9] == b'\0\0\0\0{':  # the length of the JSON header, eight bytes, and the header
        content = _read_safetensors(path)
    elif head.startswith(_OLD_TORCH):
        content = _read_torch(path)
    else:
        raise ValueError(_what_instead(head))
    if not isinstance(content, Mapping):
        raise ValueError(f'the file holds a {type(content).__name__}, not tensors by name')
    tensors = list(_tensors(content))
    if not tensors:
        raise ValueError('the file holds no tensors')
    for name, tensor in tensors:
        _check_values(name, tensor)
    return content


def _what_instead(head: bytes) -> str:
    text = head.lstrip().lower()
    for start, what in _NO_WEIGHTS.items():
        if text.startswith(start):
            return f'the file is {what}'
    if head[257:262] == b'ustar':
        return 'the file is a tar archive; unpack it first'
    return f'the file is no weights file; it begins with {head[:16]!r}'


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # a damaged directory can name versions and sizes that are none
        raise ValueError(
            f'the file is incomplete or damaged ({error}); was its download or copy interrupted?'
        ) from None
    unpacked, size = sum(member.file_size for member in members), path.stat().st_size
    if unpacked > MAX_EXPANSION * size:
        raise ValueError(
            f'the file is refused: its {size:,} bytes unpack to {unpacked:,}, which no weights do'
        )
    names = {member.filename.partition('/')[2] for member in members}
    if 'constants.pkl' in names:
        raise ValueError(
            'the file is a TorchScript program, which is code; '
            'save the state_dict() of the model it was made from'
        )
    if 'data.pkl' not in names:
        raise ValueError("the file is a zip archive, but not one of torch.save's")


def _read_torch(path: Path) -> object:
    # Without mmap: whoever saves over the file while its tensors are in use, as a training that
    # was resumed may, would change them or die of a bus error.
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        asked_for = re.search(r'GLOBAL (\S+)', str(error))
        if asked_for is None:
            raise _damaged(str(error).partition('WeightsUnpickler error:')[2]) from None
        raise ValueError(
            f'the file is refused: it asks for {asked_for[1]}, which is no tensor and may run '
            'code; save the state_dict() alone'
        ) from None
    # Whatever else a wrong byte in a pickle can lead to.
    except Exception as error:
        raise _damaged(str(error) or type(error).__name__) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(str(error)) from None


def _damaged(reason: str) -> ValueError:
    reason = reason.strip().partition('\n')[0] or 'its pickle makes no sense'
    return ValueError(f'the file is incomplete or damaged ({reason})')


def _tensors(content: Mapping) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a mapping and of the ones inside, which may not hold themselves, by name."""
    level, entries = {id(content): ('', content, 1)}, 0
    for _ in range(MAX_DEPTH):
        inner = {}
        for path, mapping, places in level.values():
            entries += places * len(mapping)
            for key, value in mapping.items():
                name = f'{path}{key}'
                if isinstance(value, Tensor):
                    yield name, value
                elif isinstance(value, Mapping):
                    *_, others = inner.get(id(value), (0,))
                    inner[id(value)] = (f'{name}.', value, places + others)
        level = inner
        if not level:
            break
    if level or entries > MAX_ENTRIES:
        raise ValueError('the file is refused: its dicts hold each other without end')


def _check_values(name: str, tensor: Tensor) -> None:
    """Refuse a dense tensor that shows the few values of a file as many."""
    if tensor.is_meta or tensor.layout is not torch.strided:
        return  # whoever wants values of these finds that they are no weights
    claimed, held = tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes()
    if claimed > held:
        raise ValueError(
            f'the file is refused: {name}, {tuple(tensor.shape)}, takes {claimed:,} bytes, of '
            f'which the file holds {held:,}; if it was expanded, save its contiguous() copy'
        )
