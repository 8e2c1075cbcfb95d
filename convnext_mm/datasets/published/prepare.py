"""Check a published data set, and download the missing files."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.text import Text

from convnext_mm.datasets.published.catalogue import PublishedDataset
from convnext_mm.datasets.published.checks import PartCheck, SplitCheck, check
from convnext_mm.datasets.published.fetch import (
    NeededArchive,
    downloaded_bytes,
    fetch,
    require_space_for,
    unzip,
)
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import show


def prepare(
    dataset: PublishedDataset,
    root: str | Path | None = None,
    *,
    archives: str | Path | None = None,
    download: bool = False,
    console: Console | None = None,
) -> bool:
    """Check a data set, download missing files if told so, and print the result.

    Args:
        dataset: The data set.
        root: Its folder; by default the one where the configs expect it.
        archives: The folder of the zip files, by default `root`.
        download: Whether to download and unzip what is missing.
        console: Where to print.

    Returns:
        Whether the data set is complete.

    Raises:
        UserError: The missing files cannot be fetched; the message says what to do.
    """
    root = Path(root or dataset.root)
    archives = Path(archives or root)
    console = console or Console(highlight=False, soft_wrap=True, markup=False)
    if root.is_symlink() and not root.exists():
        raise UserError(f'{root} is a link to {os.readlink(root)}, which does not exist')
    checks = _check(dataset, root, console)
    needed = _needed_archives(dataset, checks)
    if needed and download:
        console.print(f'\n{dataset.name} has terms of use: {dataset.terms}')
        _fetch_all(needed, checks, root, archives, console)
        checks = _check(dataset, root, console)
        needed = _needed_archives(dataset, checks)
    console.print()
    complete = all(split.complete for split in checks)
    subset = _describe_subset(dataset, checks)
    if complete:
        console.print(Text('Complete', 'green'), f'{subset}.', sep='')
        _print_un_needed_archives(dataset, archives, console)
    elif needed:
        _print_how_to_fetch(dataset, needed, root, archives, console)
    else:
        advice = 'Remove the files named above and run this again.'
        if subset:
            advice = 'A download cannot complete a subset.'
        console.print(Text('Not complete', 'red'), f'{subset}. {advice}', sep='')
    return complete


def _needed_archives(dataset: PublishedDataset, checks: list[SplitCheck]) -> list[NeededArchive]:
    """Return the archives that hold missing files.

    Subsets need none: their missing files are not the published ones.
    """
    missing = {
        part.path: part.missing for split in checks if not split.is_subset for part in split.parts
    }
    shares = [(a, max(missing.get(path, 0) for path in a.holds)) for a in dataset.archives]
    return [NeededArchive(archive, share) for archive, share in shares if share]


def _fetch_all(
    needed: list[NeededArchive],
    checks: list[SplitCheck],
    root: Path,
    archives: Path,
    console: Console,
) -> None:
    require_space_for(needed, root, archives)
    # The files of a subset are not the published ones, so no archive may overwrite them.
    keep = [part.path for split in checks if split.is_subset for part in split.parts]
    replace = [file for part in _parts(checks) for file in part.damaged]
    for one in needed:
        path = fetch(one.archive, archives, console)
        unzip(path, root, console, top=one.archive.top, keep=keep, replace=replace)


def _check(dataset: PublishedDataset, root: Path, console: Console) -> list[SplitCheck]:
    """Check a data set, and print the findings."""
    console.print(f'\n{dataset.name} in {root}', style='bold')
    with console.status('checking') as status:

        def show_progress(part: str, done: int, total: int | None) -> None:
            counts = f', {done:,} of {total:,}' if total else ''
            status.update(f'checking {part}{counts}')

        checks = check(dataset, root, show_progress)
    parts = _parts(checks)
    width = max(len(part.path) for part in parts)
    show((part.finding for part in parts), console, where_width=width)
    return checks


def _parts(checks: list[SplitCheck]) -> list[PartCheck]:
    return [part for split in checks for part in split.parts]


# --- what is printed


def _describe_subset(dataset: PublishedDataset, checks: list[SplitCheck]) -> str:
    if not any(split.is_subset for split in checks):
        return ''
    counts = ', '.join(
        f'{split.count:,} {split.split.name} images (published: {split.split.count:,})'
        for split in checks
    )
    return (
        f', as a subset of {dataset.name}: {counts}. Its scores cannot be compared with published '
        'ones'
    )


def _print_how_to_fetch(
    dataset: PublishedDataset,
    needed: list[NeededArchive],
    root: Path,
    archives: Path,
    console: Console,
) -> None:
    console.print(Text('Not complete.', 'red'), 'The missing or damaged files are in')
    total = 0
    width = max(len(one.archive.url) for one in needed)
    for one in needed:
        archive, here = one.archive, downloaded_bytes(one.archive, archives)
        total += max(0, archive.size - here)
        state = 'not downloaded'
        if here >= archive.size:
            state = f'downloaded, in {archives}'
        elif here:
            state = f'{here / 1e9:.2f} GB of it are in {archives}'
        console.print(f'  {archive.url:<{width}}  {archive.size / 1e9:5.2f} GB, {state}')
    command = dataset.command(str(root))
    if archives != root:
        command += f' --archives {archives}'
    console.print(
        f'To download {total / 1e9:.1f} GB and unzip it:  {command} --download'
        if total
        else f'To unzip it:  {command} --download'
    )
    if not root.exists():
        console.print(dataset.how_to_link(str(root)))


def _print_un_needed_archives(dataset: PublishedDataset, archives: Path, console: Console) -> None:
    zips = [path for a in dataset.archives if (path := archives / a.name).is_file()]
    if zips:
        gb = sum(path.stat().st_size for path in zips) / 1e9
        console.print(f'The zip files are no longer needed ({gb:.1f} GB):  rm', *zips)
