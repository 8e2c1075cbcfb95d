"""Check a published data set and fetch what it lacks: what ``tools/prepare_*.py`` do."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterable, Sequence
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
from rich.text import Text

from convnext_mm.datasets.published.catalogue import Archive, Published
from convnext_mm.datasets.published.checks import Checked, Finding, check
from convnext_mm.errors import UserError
from convnext_mm.weights.download import download


def main(dataset: Published, arguments: list[str] | None = None) -> int:
    """Run a tool: 0 when the data set is complete, 1 when not, 2 when something went wrong."""
    parser = argparse.ArgumentParser(
        description=f'Check {dataset.name}, and with --download fetch what is missing.',
        epilog='Exit code: 0 complete, 1 something is missing or wrong, 2 it could not be fetched.',
    )
    parser.add_argument(
        'root', nargs='?', default=dataset.root, help='folder of the data set (%(default)s)'
    )
    parser.add_argument(
        '--download',
        action='store_true',
        help='download the archives that are needed and unzip them; goes on where it stopped',
    )
    parser.add_argument('--archives', metavar='DIR', help='where the zip files are or go (ROOT)')
    args = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    root = Path(args.root)
    try:
        complete = prepare(
            dataset, root, Path(args.archives or root), fetch=args.download, console=console
        )
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted: the same command goes on from here', file=sys.stderr)
        return 130
    return 0 if complete else 1


def prepare(
    dataset: Published, root: Path, archives: Path, *, fetch: bool, console: Console
) -> bool:
    """Check a data set, if told fetch what it lacks, and print how it is.

    Args:
        dataset: What should be there.
        root: Where.
        archives: Folder of the zip files.
        fetch: Whether to download and unzip what is missing.
        console: Where to print.

    Returns:
        Whether the data set is complete.

    Raises:
        UserError: What is missing cannot be fetched; the message says what to do.
    """
    if root.is_symlink() and not root.exists():
        raise UserError(f'{root} is a link to {os.readlink(root)}, which is not there')
    checked = _check(dataset, root, console)
    needed = needed_archives(dataset, checked)
    if needed and fetch:
        console.print(f'\n{dataset.name} has terms of use: {dataset.terms}')
        _check_disk(needed, root, archives)
        for archive, _ in needed:
            path = _fetched(archive, archives, console)
            unzip(
                path,
                root,
                console,
                top=archive.top,
                keep=_of_subsets(checked),
                replace=_damaged(checked),
            )
        checked = _check(dataset, root, console)
        needed = needed_archives(dataset, checked)
    complete = all(split.ok for split in checked)
    subset = _subset_note(dataset, checked)
    console.print()
    if complete:
        console.print(Text('Complete', 'green'), f'{subset}.', sep='')
        _say_what_can_go(dataset, archives, console)
    elif needed:
        _say_how_to_fetch(dataset, needed, root, archives, console)
    else:
        advice = 'No download mends that.'
        if not subset:
            advice = 'Remove the files named above and run this again.'
        console.print(Text('Not complete', 'red'), f'{subset}. {advice}', sep='')
    return complete


def needed_archives(dataset: Published, checked: list[Checked]) -> list[tuple[Archive, float]]:
    """The archives that hold something missing, each with the largest share that a part lacks.

    None is for the missing files of a subset, which are its maker's.
    """
    lacking = {
        finding.part: finding.lacking
        for split in checked
        if not split.subset
        for finding in split.findings
    }
    shares = [(a, max(lacking.get(part, 0) for part in a.holds)) for a in dataset.archives]
    return [(archive, share) for archive, share in shares if share]


def _of_subsets(checked: list[Checked]) -> list[str]:
    """The parts whose files are their maker's, and which no archive may overwrite."""
    return [finding.part for split in checked if split.subset for finding in split.findings]


def _damaged(checked: list[Checked]) -> list[str]:
    """The files that cannot be read, whatever their size."""
    return [file for split in checked for finding in split.findings for file in finding.damaged]


def unzip(
    archive: Path,
    root: Path,
    console: Console,
    *,
    top: str = '',
    keep: Sequence[str] = (),
    replace: Collection[str] = (),
) -> None:
    """Unzip what is not there yet in full, each file under its name only when it is whole.

    Args:
        archive: The zip file.
        root: Where to.
        console: Where to show progress.
        top: A folder in the archive that stands for `root`.
        keep: Files and folders below `root` to leave as they are.
        replace: Files below `root` to write again even if they are there with the right size.

    Raises:
        UserError: The archive is damaged, wants to write outside of `root`, or the disk is full.
    """
    try:
        with zipfile.ZipFile(archive) as file, _bar(console) as bar:
            members = [
                (member, _target(archive, member.filename, root, top))
                for member in file.infolist()
                if not member.is_dir()
            ]
            kept = [root / part for part in keep]
            replaced = {root / file for file in replace}
            todo = [
                (member, target)
                for member, target in members
                if (target in replaced or not _has_size(target, member.file_size))
                and not any(target.is_relative_to(part) for part in kept)
            ]
            total = sum(member.file_size for member, _ in todo)
            _check_free([(root, total)])
            task = bar.add_task(f'unzipping {archive.name}', total=total)
            for member, target in todo:
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f'{target.name}.part')
                with file.open(member) as source, open(part, 'wb') as sink:
                    while chunk := source.read(2**20):  # the last one checks the CRC
                        sink.write(chunk)
                        bar.advance(task, len(chunk))
                os.replace(part, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            f'{archive} is damaged or was not downloaded to its end ({error}): remove it, and run '
            'this again with --download'
        ) from error


def _target(archive: Path, name: str, root: Path, top: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or '\\' in name or ':' in name:
        raise UserError(f'{archive} wants to write to {name}, outside of {root}: not unzipped')
    return root / (path.relative_to(top) if top and path.is_relative_to(top) else path)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _fetched(archive: Archive, folder: Path, console: Console) -> Path:
    """The zip file, downloaded if it is not there."""
    path = folder / archive.name
    if path.exists() and path.stat().st_size < archive.size:
        # Such as of an interrupted wget. A page that says "not found" is not worth 19 GB more.
        with open(path, 'rb') as file:
            start = file.read(2)
        if start != b'PK':
            raise UserError(f'{path} is no zip file: remove it, and run this again')
        os.replace(path, path.with_name(f'{path.name}.part'))
    if path.exists():
        return path
    with _bar(console) as bar:
        task = bar.add_task(f'downloading {archive.name}', total=archive.size)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done)

        return download(archive.url, path, size=archive.size, md5=archive.md5, progress=show)


def _check_disk(needed: list[tuple[Archive, float]], root: Path, archives: Path) -> None:
    """Whether all that is needed has room, before hours go by."""
    downloads = [(archives, max(0, a.size - _bytes_here(a, archives))) for a, _ in needed]
    unzipped = [(root, round(a.unzipped_gb * 1e9 * share)) for a, share in needed]
    _check_free([*downloads, *unzipped])


def _check_free(wants: Iterable[tuple[Path, int]]) -> None:
    disks: dict[int, tuple[Path, int]] = {}
    for path, size in wants:
        place = next(p for p in (path, *path.absolute().parents) if p.exists())
        _, before = disks.get(place.stat().st_dev, (place, 0))
        disks[place.stat().st_dev] = place, before + size
    for place, size in disks.values():
        free = shutil.disk_usage(place).free
        if size > free:
            raise UserError(
                f'{size / 1e9:.1f} GB more are needed on the disk of {place}, and '
                f'{free / 1e9:.1f} GB are free: free some space, or put the zip files on another '
                'disk with --archives DIR'
            )


def _bytes_here(archive: Archive, folder: Path) -> int:
    """How much of an archive has been downloaded."""
    path = folder / archive.name
    places = (path, path.with_name(f'{path.name}.part'))
    return max(place.stat().st_size if place.is_file() else 0 for place in places)


# --- what is printed ------------------------------------------------------------------------------


def _check(dataset: Published, root: Path, console: Console) -> list[Checked]:
    console.print(f'\n{dataset.name} in {root}', style='bold')
    with console.status('looking at it') as status:

        def show(part: str, done: int, total: int | None) -> None:
            counted = f', {done:,} of {total:,}' if total else ''
            status.update(f'looking at {part}{counted}')

        checked = check(dataset, root, show)
    findings = [finding for split in checked for finding in split.findings]
    width = max(len(finding.part) for finding in findings)
    for finding in findings:
        console.print('', _word(finding), f'{finding.part:<{width}}', finding.text, sep='  ')
    return checked


def _word(finding: Finding) -> Text:
    if finding.ok:
        return Text('ok     ', 'green')
    return Text('wrong  ' if finding.wrong else 'missing', 'red')


def _subset_note(dataset: Published, checked: list[Checked]) -> str:
    if not any(split.subset for split in checked):
        return ''
    counts = ', '.join(
        f'{split.images:,} {split.split.name} images (published: {split.split.count:,})'
        for split in checked
    )
    return f', as a subset of {dataset.name}: {counts}. Scores on it compare to no published ones'


def _say_how_to_fetch(
    dataset: Published,
    needed: list[tuple[Archive, float]],
    root: Path,
    archives: Path,
    console: Console,
) -> None:
    console.print(Text('Not complete.', 'red'), 'What is missing or damaged is in')
    missing = 0
    width = max(len(archive.url) for archive, _ in needed)
    for archive, _ in needed:
        here = _bytes_here(archive, archives)
        missing += max(0, archive.size - here)
        state = 'not downloaded'
        if here >= archive.size:
            state = f'to be unzipped from {archives}'
        elif here:
            state = f'{here / 1e9:.2f} GB of it are in {archives}'
        console.print(f'  {archive.url:<{width}}  {archive.size / 1e9:5.2f} GB, {state}')
    command = dataset.command(str(root))
    if archives != root:
        command += f' --archives {archives}'
    console.print(
        f'To download {missing / 1e9:.1f} GB and unzip it:  {command} --download'
        if missing
        else f'To unzip it:  {command} --download'
    )
    if not root.exists():
        console.print(dataset.link(str(root)))


def _say_what_can_go(dataset: Published, archives: Path, console: Console) -> None:
    zips = [path for a in dataset.archives if (path := archives / a.name).is_file()]
    if zips:
        gb = sum(path.stat().st_size for path in zips) / 1e9
        console.print(f'The zip files are no longer needed ({gb:.1f} GB):  rm', *zips)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn('  {task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
