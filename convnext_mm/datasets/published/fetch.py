"""Download and unzip the archives of a published data set; both continue after an interruption."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from convnext_mm.datasets.published.catalogue import Archive
from convnext_mm.errors import UserError
from convnext_mm.weights.download import download

_CHUNK = 2**20  # bytes
_ZIP_START = b'PK'
# Images hardly shrink in a zip file, JSON to a fifth. More than this was made to fill the disk.
_MAX_EXPANSION = 100


@dataclass(frozen=True)
class NeededArchive:
    """An archive with missing files, and the largest share of a part that is missing."""

    archive: Archive
    share: float


def fetch(archive: Archive, folder: Path, console: Console) -> Path:
    """Return the zip file in a folder; download it if it is missing or incomplete.

    Raises:
        UserError: The file is no zip file, or cannot be downloaded.
    """
    path = folder / archive.name
    if path.exists() and path.stat().st_size < archive.size:
        # For example of an interrupted wget. A saved error page is not worth 19 GB more.
        with open(path, 'rb') as file:
            start = file.read(len(_ZIP_START))
        if start != _ZIP_START:
            raise UserError(f'{path} is no zip file: remove it, and run this again')
        os.replace(path, path.with_name(f'{path.name}.part'))
    if path.exists():
        return path
    with _progress_bar(console) as bar:
        task = bar.add_task(f'downloading {archive.name}', total=archive.size)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done)

        return download(archive.url, path, size=archive.size, md5=archive.md5, progress=show)


def unzip(
    archive: Path,
    root: Path,
    console: Console,
    *,
    top: str = '',
    keep: Sequence[str] = (),
    replace: Collection[str] = (),
) -> None:
    """Unzip the files that are not there with their full size; write each file atomically.

    Args:
        archive: The zip file.
        root: The folder to unzip into.
        console: Where to show the progress.
        top: A folder in the archive that becomes `root`.
        keep: Files and folders below `root` that are not changed.
        replace: Files below `root` that are written even if they have the right size.

    Raises:
        UserError: The archive is damaged, has a link or a path outside of `root`, unpacks to far
            more than its own size, or the disk is too full.
    """
    try:
        with zipfile.ZipFile(archive) as file, _progress_bar(console) as bar:
            _refuse_bomb(archive, file.infolist())
            members = [
                (member, _target(archive, member, root, top))
                for member in file.infolist()
                if not member.is_dir()
            ]
            kept = [root / part for part in keep]
            replaced = {root / path for path in replace}
            todo = [
                (member, target)
                for member, target in members
                if (target in replaced or not _has_size(target, member.file_size))
                and not any(target.is_relative_to(part) for part in kept)
            ]
            total = sum(member.file_size for member, _ in todo)
            _require_space([(root, total)])
            task = bar.add_task(f'unzipping {archive.name}', total=total)
            for member, target in todo:
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f'{target.name}.part')
                with file.open(member) as source, open(part, 'wb') as sink:
                    while chunk := source.read(_CHUNK):  # The last read checks the CRC.
                        sink.write(chunk)
                        bar.advance(task, len(chunk))
                os.replace(part, target)
    except OSError as error:
        raise UserError(f'{archive} cannot be unzipped into {root}: {error}') from error
    # zipfile raises a RuntimeError for a password or an unknown compression.
    except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, RuntimeError) as error:
        raise UserError(
            f'{archive} is damaged or incomplete ({error}): remove it, and run this again with '
            '--download'
        ) from error


def require_space_for(needed: Iterable[NeededArchive], root: Path, archives: Path) -> None:
    """Check that the disks have room for downloads and unzipped files, before hours of work.

    Raises:
        UserError: A disk is too full.
    """
    sizes = []
    for one in needed:
        sizes.append((archives, max(0, one.archive.size - downloaded_bytes(one.archive, archives))))
        sizes.append((root, round(one.archive.unzipped_gb * 1e9 * one.share)))
    _require_space(sizes)


def downloaded_bytes(archive: Archive, folder: Path) -> int:
    """Return how many bytes of an archive are in a folder."""
    path = folder / archive.name
    places = (path, path.with_name(f'{path.name}.part'))
    return max(place.stat().st_size if place.is_file() else 0 for place in places)


def _refuse_bomb(archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    unpacked, size = sum(member.file_size for member in members), archive.stat().st_size
    if unpacked > _MAX_EXPANSION * size:
        raise UserError(
            f'{archive} is refused: its {size:,} bytes unpack to {unpacked:,}, more than '
            f'{_MAX_EXPANSION} times as many'
        )


def _target(archive: Path, member: zipfile.ZipInfo, root: Path, top: str) -> Path:
    name = member.filename
    path = PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or '\\' in name or ':' in name:
        raise UserError(f'{archive} has a file {name} outside of {root}: nothing was unzipped')
    kind = stat.S_IFMT(member.external_attr >> 16)
    target = root / (path.relative_to(top) if top and path.is_relative_to(top) else path)
    if kind not in (0, stat.S_IFREG) or target == root:
        raise UserError(f'{archive} has {name}, which is no plain file: nothing was unzipped')
    return target


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _require_space(sizes: Iterable[tuple[Path, int]]) -> None:
    """Check that each disk has room for the bytes that go to its folders."""
    disks: dict[int, tuple[Path, int]] = {}
    for path, size in sizes:
        place = next(p for p in (path, *path.absolute().parents) if p.exists())
        _, before = disks.get(place.stat().st_dev, (place, 0))
        disks[place.stat().st_dev] = place, before + size
    for place, size in disks.values():
        free = shutil.disk_usage(place).free
        if size > free:
            raise UserError(
                f'the disk of {place} needs {size / 1e9:.1f} GB of free space and has '
                f'{free / 1e9:.1f} GB: free some space, or put the zip files on another disk with '
                '--archives DIR'
            )


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn('  {task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
