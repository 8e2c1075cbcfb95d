"""The files and folders of a user: find them, and read what their names say."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convnext_mm.errors import UserError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
# The words in a name that mean a split.
_SPLIT_WORDS = {
    'train': ('train', 'training'),
    'val': ('val', 'valid', 'validation', 'dev'),
    'test': ('test', 'testing'),
}
# Categories of Unicode: control characters, surrogates (bytes in a file name that are not UTF-8),
# and the ends of lines and paragraphs.
_NO_TEXT = ('Cc', 'Cs', 'Zl', 'Zp')


@dataclass(frozen=True)
class SplitPaths:
    """The files of one split.

    Attributes:
        images: The folder of its images.
        annotations: Its COCO JSON, or the folder of its label maps.
    """

    images: Path
    annotations: Path


def is_text(value: str) -> bool:
    """Tell whether a name has no control characters or line ends, and is UTF-8."""
    return not any(unicodedata.category(character) in _NO_TEXT for character in value)


def fits_config(value: str) -> bool:
    """Tell whether a config that is written and read again still has this text."""
    return is_text(value) and '{{' not in value  # MMEngine replaces {{ }} in configs.


def split_of(name: str) -> str | None:
    """Return the split that a name means: ``val`` for ``instances_val2017``."""
    words = re.findall(r'[a-z]+', name.lower())
    return next((s for s, known in _SPLIT_WORDS.items() if any(w in known for w in words)), None)


def split_of_folder(folder: Path, root: Path) -> str | None:
    """Return the split that a folder, or one between it and the root, is named after."""
    names = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
    return next(filter(None, map(split_of, reversed(names))), None)


def files_below(folder: Path, skipped: list[Path] | None = None) -> list[Path]:
    """Return the files in a folder and in the folders below it, sorted by path.

    Hidden files and folders are left out, such as the ``._a.png`` that macOS writes beside
    ``a.png``. Links to folders are followed, but no folder is read twice.

    Args:
        folder: A folder.
        skipped: A list that takes the folders that were left out, and links to nothing.

    Raises:
        UserError: A folder cannot be read.
    """
    return sorted(walk(folder, [] if skipped is None else skipped))


def images_in(folder: Path, skipped: list[Path] | None = None) -> list[Path]:
    """Return the images of :func:`files_below`."""
    return [file for file in files_below(folder, skipped) if file.suffix.lower() in IMAGE_SUFFIXES]


def walk(folder: Path, skipped: list[Path]) -> Iterator[Path]:
    """Yield the files of :func:`files_below`, each as soon as it is found."""
    read, waiting = set(), deque([folder])
    while waiting:
        current = waiting.popleft()
        real = os.path.realpath(current)
        if real in read:
            skipped.append(current)
            continue
        read.add(real)
        for entry in _entries(current):
            path = current / entry.name
            is_link, hidden = entry.is_symlink(), entry.name.startswith('.')
            if os.path.isdir(path) if is_link else entry.is_dir():
                if hidden:
                    skipped.append(path)
                elif is_link:
                    waiting.append(path)  # after the folders themselves
                else:
                    waiting.appendleft(path)
            elif not hidden:
                if is_link and not os.path.exists(path):
                    skipped.append(path)
                yield path


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f'{folder}: cannot be read: {error.strerror}') from None


def base_name(file_name: str) -> str:
    """Return a ``file_name`` without its folders, which another computer may have written."""
    return re.split(r'[\\/]', file_name)[-1]


def relative(path: Path, root: Path) -> str:
    """Write a path relative to a root if it is inside, else as it is."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return [path for path in sorted(folder.glob('[!.]*')) if os.path.isdir(path)]
