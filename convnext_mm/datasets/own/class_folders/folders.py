"""Find and check folders of images by class.

Two layouts are recognised. In the second, a fifth of the images of each class is set aside for
validation::

    train/<class>/...  val/<class>/...        as ImageNet
    <class>/...                               no splits: one is made

An image may lie in a folder below the folder of its class. Other names of splits are
``training``, ``valid``, ``validation``, ``dev`` and ``test``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from convnext_mm.datasets.image_files import read_each, read_size
from convnext_mm.datasets.own.class_folders import problems
from convnext_mm.datasets.own.files import (
    IMAGE_SUFFIXES,
    fits_config,
    folders_in,
    images_in,
    is_text,
    relative,
    split_of,
)
from convnext_mm.datasets.own.recognise import (
    IMAGE_FOLDERS,
    MAP_FOLDERS,
    absolute,
    check_fits_config,
    with_validation,
)
from convnext_mm.datasets.own.splitting import SEED, VAL_SHARE, choose_validation
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Finding, by_level, errors_in, show
from convnext_mm.messages.wording import counted, listed, printable

LISTED_CLASSES = 8

Images = Mapping[str, list[Path]]  # class -> its images


@dataclass(frozen=True)
class ClassFolders:
    """The images of each split by class.

    Attributes:
        root: The folder of the user, absolute.
        splits: ``train``, and ``val`` and ``test`` if there are such. Each has its classes in
            alphabetical order.
        notes: Decisions that the user should know.
        findings: The results of the checks, errors first.
    """

    root: Path
    splits: dict[str, Images]
    notes: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, which are the names of the training folders."""
        return tuple(self.splits['train'])

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop a training."""
        return errors_in(self.findings)


def find_class_folders(path: str | Path) -> ClassFolders | None:
    """Find a folder of images for each class, or return None; only names are read.

    Raises:
        UserError: The path does not exist, a folder cannot be read, or there is no training split.
    """
    root = absolute(path)
    if not root.is_dir():
        return None
    named = {folder: split for folder in folders_in(root) if (split := split_of(folder.name))}
    splits: dict[str, Images] = {}
    for folder, split in named.items():
        if images := _images_by_class(folder):
            if split in splits:
                raise UserError(
                    f'{root}: several folders are named after the {split} split. Put their classes '
                    'into one folder, or rename the others'
                )
            splits[split] = images
    notes: list[str] = []
    if splits:
        splits, notes = with_validation(root, splits)
    elif not named:
        images = _images_by_class(root)
        # Folders of images without annotations are no classes.
        if set(images) - {*IMAGE_FOLDERS, *MAP_FOLDERS}:
            splits = {'train': images}
    return ClassFolders(root, splits, tuple(notes)) if splits else None


def check_class_folders(
    path: str | Path, *, console: Console | None = None, decode: bool = True
) -> ClassFolders:
    """Find a folder of images for each class, and check the images. No file is changed.

    Args:
        path: The folder with the folders of the classes, or with ``train`` and ``val``.
        console: Where to show the progress, if anywhere.
        decode: Whether to decode the images, which finds incomplete files, or to read sizes only.

    Raises:
        UserError: There are no such folders.
    """
    status = (console or Console(quiet=True)).status('looking for images')
    with status:
        found = find_class_folders(path)
        if found is None:
            raise UserError(
                f'{path}: no folder of images for each class: looked for train/CLASS/*.jpg and '
                'val/CLASS/*.jpg, or CLASS/*.jpg'
            )
        check_fits_config(found.root)

        def show_progress(done: int, total: int) -> None:
            status.update(f'reading {done:,} of {total:,} images')

        read = partial(read_size, decode=decode)
        findings = list(_check_classes(found))
        for split, images in _different_splits(found):
            paths = [path for group in images.values() for path in group]
            sizes = read_each(read, paths, show_progress)
            broken = [f'{p.name}: {size.error}' for p, size in sizes.items() if size.error]
            findings += problems.UNREADABLE_IMAGES.cases(split, broken)
    notes = found.notes
    if 'val' not in found.splits:
        share = f'{VAL_SHARE:.0%} of the images of each class, chosen with seed {SEED}'
        notes = (*notes, f'no validation split: {share}, are used for validation')
    return ClassFolders(found.root, found.splits, notes, by_level(findings))


def split_by_class(images: Images) -> dict[str, Images]:
    """Set validation images of each class aside."""
    chosen = {name: choose_validation(group, []) for name, group in images.items()}
    return {
        'train': {n: [p for p in group if p not in chosen[n]] for n, group in images.items()},
        'val': {n: [p for p in group if p in chosen[n]] for n, group in images.items()},
    }


def show_class_folders(found: ClassFolders, console: Console) -> None:
    """Print the classes and splits, the decisions that were made, and all findings."""
    names = listed(map(printable, found.classes), LISTED_CLASSES)
    console.print(f'\n{found.root}', style='bold')
    console.print(f'  images by class, {counted(len(found.classes), "class")}: {names}')
    for split, images in found.splits.items():
        console.print(f'  {split:<5} {counted(sum(map(len, images.values())), "image")}')
    for note in found.notes:
        console.print(f'  {note}')
    console.print()
    show(found.findings, console, where_width=5)


def _images_by_class(folder: Path) -> Images:
    """Return the images of each folder in a folder; empty if no image is in any of them."""
    images = {inner.name: images_in(inner) for inner in folders_in(folder)}
    return images if any(images.values()) else {}


def _different_splits(found: ClassFolders) -> Iterator[tuple[str, Images]]:
    """Yield each split once; the test split may be the validation split, too."""
    for split, images in found.splits.items():
        if split != 'val' or found.splits.get('test') is not images:
            yield split, images


def _check_classes(found: ClassFolders) -> Iterator[Finding]:
    train = found.splits['train']
    if len(train) == 1:
        yield problems.ONE_CLASS.finding('train', name=found.classes[0])
    yield from problems.EMPTY_CLASSES.cases('train', [name for name in train if not train[name]])
    unusable = [name for name in train if not fits_config(name)]
    yield from problems.UNUSABLE_CLASSES.cases('train', unusable)
    if 'val' not in found.splits:
        single = [name for name, group in train.items() if len(group) == 1]
        yield from problems.SINGLE_IMAGES.cases('train', single)
    seen = {os.path.realpath(path) for group in train.values() for path in group}
    for split, images in _different_splits(found):
        paths = [path for group in images.values() for path in group]
        names = [relative(path, found.root) for path in paths]
        unusable = [name for name in names if not is_text(name) or name != name.strip()]
        yield from problems.UNUSABLE_NAMES.cases(split, unusable)
        yield from problems.LOOSE_IMAGES.cases(split, _loose_images(found, split))
        if images is train:
            continue
        unknown = [name for name, group in images.items() if group and not train.get(name)]
        yield from problems.UNKNOWN_CLASSES.cases(split, unknown)
        without = [name for name in train if train[name] and not images.get(name)]
        yield from problems.NOT_EVALUATED.cases(split, without)
        shared = [path.name for path in paths if os.path.realpath(path) in seen]
        yield from problems.SHARED_IMAGES.cases(split, shared)


def _loose_images(found: ClassFolders, split: str) -> list[str]:
    """Return the names of images beside the folders of the classes."""
    first = next(path for group in found.splits[split].values() for path in group)
    name = first.relative_to(found.root).parts[0]
    folder = found.root / name if split_of(name) == split else found.root
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES)
    return [path.name for path in files if path.is_file()]
