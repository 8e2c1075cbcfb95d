"""Read single fields of a COCO JSON without parsing it.

The annotations of COCO itself take half a minute and 4 GB of memory to parse. The functions here
search the bytes of the file instead, which takes seconds and no memory. They do not prove that the
file is valid.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_KEYS = ('images', 'annotations', 'categories')
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
_IMAGE_ID = re.compile(rb'"image_id"\s*:')
_CHUNK = 2**24  # bytes


def missing_keys(path: Path) -> list[str]:
    """Return which of the three keys of COCO annotations a file lacks."""
    with _bytes_of(path) as text:
        return [key for key in _KEYS if text.find(f'"{key}"'.encode()) < 0]


def is_cut_off(path: Path) -> bool:
    """Return whether a JSON is empty or its end is missing, so that a brace stays open."""
    depth = 0
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            depth += chunk.count(b'{') - chunk.count(b'}')
        return depth != 0 or not file.tell()


def image_names(path: Path) -> Iterator[str]:
    """Yield the ``file_name`` of each image, in the order of the file, but none that is broken."""
    with _bytes_of(path) as text:
        for match in _FILE_NAME.finditer(text):
            with suppress(ValueError):
                yield json.loads(match[1])


def object_count(path: Path) -> int:
    """Return the number of annotated objects."""
    with _bytes_of(path) as text:
        return sum(1 for _ in _IMAGE_ID.finditer(text))


def categories(path: Path) -> list[dict]:
    """Return the categories.

    Raises:
        ValueError: The file has none, or they cannot be read.
    """
    with _bytes_of(path) as text:
        start = text.find(b'"categories"')
        start = text.find(b'[', start) if start >= 0 else -1
        if start < 0:
            raise ValueError(f'{path} has no categories')
        # A category may hold lists, such as a skeleton: the first bracket may not be the last.
        end = text.find(b']', start)
        while end > 0:
            try:
                return json.loads(text[start : end + 1])
            except ValueError:
                end = text.find(b']', end + 1)
        raise ValueError(f'the categories of {path} cannot be read')


@contextmanager
def _bytes_of(path: Path) -> Iterator[mmap.mmap | bytes]:
    """Map a file into memory; an empty file cannot be mapped."""
    with open(path, 'rb') as file:
        if not file.read(1):
            yield b''
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            yield text
