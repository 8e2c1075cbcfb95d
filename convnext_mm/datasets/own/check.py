"""Recognise a data set of the user, read it and check it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from convnext_mm.datasets.own.class_folders.folders import (
    ClassFolders,
    check_class_folders,
    find_class_folders,
    show_class_folders,
)
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations
from convnext_mm.datasets.own.coco.check import check_coco, read_coco
from convnext_mm.datasets.own.files import relative
from convnext_mm.datasets.own.formats.coco import to_coco
from convnext_mm.datasets.own.label_maps.check import check_label_maps
from convnext_mm.datasets.own.label_maps.classes import LabelClasses
from convnext_mm.datasets.own.label_maps.pairs import LabelMaps, read_label_maps
from convnext_mm.datasets.own.problem import TOO_FEW_IMAGES
from convnext_mm.datasets.own.recognise import (
    Layout,
    UnknownDataError,
    check_fits_config,
    recognise,
    with_validation,
)
from convnext_mm.datasets.own.splitting import SEED, VAL_SHARE
from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command
from convnext_mm.messages.findings import Finding, Level, by_level, errors_in, show
from convnext_mm.messages.wording import counted, listed, printable

KINDS = {'coco': 'objects', 'maps': 'label maps'}
LISTED_CLASSES = 8
_SPLIT_WIDTH = 5  # columns


class ImagesByClassError(UserError):
    """The data set is for a classifier."""


@dataclass(frozen=True)
class CheckedData:
    """A data set, read and checked.

    Attributes:
        layout: Where its files are, and in which format.
        splits: The content of each split, ``train`` at least, with the repairs.
        findings: The results of the checks, errors first.
        labels: For label maps, the classes that the ids mean.
    """

    layout: Layout
    splits: dict[str, CocoAnnotations] | dict[str, LabelMaps]
    findings: list[Finding]
    labels: LabelClasses | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.labels.names if self.labels else tuple(self.splits['train'].classes)

    @property
    def kind(self) -> str:
        """The kind of the data set: objects in a format, or label maps."""
        kind = KINDS[self.layout.kind]
        return f'{kind} in {self.layout.format} format' if self.layout.kind == 'coco' else kind

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop a training."""
        return errors_in(self.findings)

    @property
    def notes(self) -> list[str]:
        """The decisions that were made for the user."""
        if 'val' in self.splits:
            return [*self.layout.notes]
        share = f'{VAL_SHARE:.0%} of the images, chosen with seed {SEED}'
        return [*self.layout.notes, f'no validation split: {share}, are used for validation']


def check_own_data(
    path: str | Path, *, console: Console | None = None, decode: bool = True
) -> CheckedData:
    """Recognise a data set, read it, repair it in memory, and check it. No file is changed.

    Args:
        path: Its folder, or one file with annotations, such as a COCO JSON.
        console: Where to show the progress, if anywhere.
        decode: Whether to decode the images, which finds incomplete files, or to read sizes only.

    Raises:
        ImagesByClassError: It holds a folder of images for each class.
        UserError: The data set is not recognised, or annotations cannot be read.
    """
    try:
        layout = recognise(path)
    except UnknownDataError as error:
        raise _images_by_class(path) or error from None
    # As Text, because brackets in a path are no markup.
    text = Text(f'reading the annotations in {layout.root}')
    status = (console or Console(quiet=True)).status(text)

    def show_progress(done: int, total: int) -> None:
        status.update(Text(f'reading {done:,} of {total:,} files in {layout.root}'))

    labels = None
    with status:
        if layout.kind == 'maps':
            splits = read_label_maps(layout)
            labels, findings = check_label_maps(layout, splits, decode, show_progress)
        else:
            layout, splits, findings = _read_objects(layout)
            findings += check_coco(splits, decode, show_progress)
    train = splits['train']
    # Entries with errors may have been left out.
    if 'val' not in splits and (labels or train.is_complete):
        count = _annotated_images(train)
        findings += [TOO_FEW_IMAGES.finding('train', count=count)] if count < 2 else []
    return CheckedData(layout, splits, by_level(findings), labels)


def check_any_data(path: str | Path, console: Console) -> CheckedData | ClassFolders:
    """Check a data set for a detector, a segmentor or a classifier.

    Raises:
        UserError: As for :func:`check_own_data`.
    """
    try:
        return check_own_data(path, console=console)
    except ImagesByClassError:
        return check_class_folders(path, console=console)


def _images_by_class(path: str | Path) -> UserError | None:
    found = None
    with suppress(UserError):  # The caller has a better message.
        found = find_class_folders(path)
    if found is None:
        return None
    return ImagesByClassError(
        f'{found.root}: images by class ({listed(map(printable, found.classes))}) train a '
        f'classifier: {command("train")} imagenet/convnext_t --data PATH'
    )


def _read_objects(
    layout: Layout,
) -> tuple[Layout, dict[str, CocoAnnotations], list[Finding]]:
    """Read COCO annotations, or read another format and convert it."""
    if layout.read is None:
        return layout, read_coco(layout), []
    source = layout.read()
    splits, notes = with_validation(layout.root, to_coco(source))
    for coco in splits.values():
        check_fits_config(coco.paths.images)
    # A config, which cannot hold all characters, gets the notes too.
    notes = map(printable, (*layout.notes, *source.notes, *notes))
    layout = replace(layout, notes=tuple(notes))
    return layout, splits, source.findings


def show_checked(checked: CheckedData | ClassFolders, console: Console) -> None:
    """Print what a data set holds, the decisions that were made, and all findings."""
    if isinstance(checked, ClassFolders):
        show_class_folders(checked, console)
        return
    layout, classes = checked.layout, checked.classes
    console.print(f'\n{layout.root}', style='bold')
    if checked.labels:  # The ids do not always prove which id a name belongs to.
        classes = [f'{i} {name}' for i, name in zip(checked.labels.ids, classes)]
    names = listed(map(printable, classes), LISTED_CLASSES)
    text = f'  {checked.kind}, {counted(len(classes), "class")}'
    console.print(f'{text}: {names}' if names else text)
    for split, content in checked.splits.items():
        paths = content.paths
        places = f'annotations {relative(paths.annotations, layout.root)}, '
        places += f'images {relative(paths.images, layout.root)}'
        console.print(f'  {split:<{_SPLIT_WIDTH}} {_counts(content):<32}{printable(places)}')
    for note in checked.notes:
        console.print(f'  {note}')
    console.print()
    show(checked.findings, console, where_width=_SPLIT_WIDTH)


def verdict(checked: CheckedData | ClassFolders) -> str:
    """Say in one line whether a data set can be trained on."""
    if checked.errors:
        return f'Not ready: {counted(len(checked.errors), "kind")} of error to put right.'
    if any(finding.level is Level.REPAIRED for finding in checked.findings):
        return (
            f'Ready: {command("train")} CONFIG --data trains on a repaired copy of the annotations.'
        )
    return 'Ready.'


def _annotated_images(content: CocoAnnotations | LabelMaps) -> int:
    if isinstance(content, LabelMaps):
        return len(content.labelled)
    return len(content.ids_with_single_objects)


def _counts(content: CocoAnnotations | LabelMaps) -> str:
    if isinstance(content, LabelMaps):
        return counted(len(content.stems), 'image')
    images, objects = (len(content.content[key]) for key in ('images', 'annotations'))
    return f'{counted(images, "image")}, {counted(objects, "object")}'
