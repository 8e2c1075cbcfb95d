"""Write checkpoints whole or not at all, and find the newest whole one.

A checkpoint is written beside its name, synced to the disk and renamed. PyTorch's files are zip
archives with a checksum for each record, which is enough to recognise a file that was cut short or
changed.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from convnext_mm.config.work_dir import newest_checkpoints

_CHUNK = 2**22


def unfinished_name(name: str) -> str:
    """Return the name that a checkpoint has while it is written."""
    return f'.{name}.unfinished'


def publish(unfinished: Path, path: Path) -> None:
    """Sync a written file to the disk and give it its name."""
    with open(unfinished, 'rb') as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # The name is safe only when its folder is.
    finally:
        os.close(folder)


def damage(path: Path) -> str:
    """Say why a checkpoint is not whole; return an empty text if it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as record:
                    while record.read(_CHUNK):  # The last read compares the checksum.
                        pass
    except zipfile.BadZipFile as error:
        return f'it is damaged or was cut short ({error})'
    except (OSError, EOFError, NotImplementedError, RuntimeError) as error:
        return str(error)
    return ''


def newest_whole(work_dir: Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint of a training that is whole.

    Args:
        work_dir: Folder with ``epoch_*.pth`` and ``iter_*.pth``.

    Returns:
        The checkpoint, or None, and a line for each newer one with the reason to skip it.
    """
    skipped = []
    for path in newest_checkpoints(work_dir):
        reason = damage(path)
        if not reason:
            return path, skipped
        skipped.append(f'{path}: {reason}')
    return None, skipped
