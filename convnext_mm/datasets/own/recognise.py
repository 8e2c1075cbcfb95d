"""Recognise a data set by the names of its folders and files.

:mod:`convnext_mm.datasets.own.check` reads the contents; only the begin of files in other formats
than COCO is read here. In COCO format these layouts are recognised, where ``*`` is ``train``,
``training``, ``val``, ``valid``, ``validation``, ``dev`` or ``test``, alone or as a word of a
longer name::

    annotations/instances_*2017.json  *2017/          as COCO
    */_annotations.coco.json          */              as Roboflow exports it, images beside the JSON
    *.json                            images/ ...     with one folder of images or several
    annotations.json                  images/ ...     no splits: one is made

Label maps are PNGs whose pixels are class ids, named like their images::

    images/*/   annotations/*/                        as ADE20K
    */images/   */masks/                              the split first
    images/     masks/                                no splits: one is made

The names of their classes are in ``classes.txt``, one per line, in the order of their ids.

Other formats of objects are in :mod:`convnext_mm.datasets.own.formats`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from convnext_mm.datasets.coco_scan import image_names, is_cut_off, missing_keys
from convnext_mm.datasets.own.files import (
    SplitPaths,
    base_name,
    files_below,
    fits_config,
    folders_in,
    images_in,
    split_of,
    split_of_folder,
    walk,
)
from convnext_mm.datasets.own.formats.known import FORMATS
from convnext_mm.datasets.own.formats.labelme import is_labelme
from convnext_mm.datasets.own.formats.not_taken import PACKED, name_annotations
from convnext_mm.datasets.own.formats.source import Folder, Source
from convnext_mm.errors import UserError
from convnext_mm.messages.wording import listed, printable

IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'JPEGImages', 'leftImg8bit')
MAP_FOLDERS = (
    *('annotations', 'masks', 'mask', 'labels', 'label', 'labelmaps', 'ann', 'anns', 'gt'),
    *('SegmentationClass', 'gtFine', 'segmentations'),
)
# JSONs of COCO for other tasks than object detection.
_OTHER_TASKS = re.compile(r'^(captions|person_keypoints|stuff|panoptic|image_info)_')
Split = TypeVar('Split')
_SAMPLE = 50  # image names that are looked for in a folder


class UnknownDataError(UserError):
    """Nothing in a folder is known as annotations."""


@dataclass(frozen=True)
class Layout:
    """The files of a data set, by split.

    Attributes:
        root: The folder of the user, absolute.
        kind: ``coco`` for objects, ``maps`` for label maps.
        splits: ``train``, and ``val`` and ``test`` if there are such. Without ``val``, validation
            images are taken from the training images later.
        notes: Decisions that the user should know.
        like_ade20k: For label maps, whether the folders are named as in ADE20K, where id 0 is not a
            class.
        format: The format of objects.
        read: Reads objects in another format than COCO, whose splits are known only then.
    """

    root: Path
    kind: Literal['coco', 'maps']
    splits: dict[str, SplitPaths]
    notes: tuple[str, ...] = ()
    like_ade20k: bool = False
    format: str = 'COCO'
    read: Callable[[], Source] | None = None


def recognise(path: str | Path) -> Layout:
    """Recognise the data set in a folder, or the data set of one file with annotations.

    Raises:
        UnknownDataError: Nothing is recognised. The message names the folders and files that are.
        UserError: It is not clear which of several files to use, or a file cannot be read.
    """
    if not str(path):
        raise UserError('the path of the data set is empty')
    path = absolute(path)
    try:
        layout = _recognise(path)
    except OSError as error:
        raise UserError(f'{error.filename}: cannot be read: {error.strerror}') from None
    for paths in layout.splits.values():
        for used in (paths.images, paths.annotations):
            check_fits_config(used)
    return layout


def _recognise(path: Path) -> Layout:
    if path.is_file():
        root = path.parent.parent if path.parent.name == 'annotations' else path.parent
        if not (reason := _why_no_coco(path)):
            return Layout(root, 'coco', {'train': _coco_split(root, path)})
        folder = Folder(path)
        if layout := _recognise_others(folder):
            return layout
        known = name_annotations(folder) if path.suffix.lower() not in PACKED else ''
        raise UserError(f'{path}: not a COCO JSON: {reason}{known and f". {known}"}')
    if layout := _recognise_coco(path):
        return _choose_validation(layout)
    folder, maps = Folder(path), _recognise_maps(path)
    others = None if maps and _has_map_for_each_image(maps) else _recognise_others(folder)
    if others:
        return others
    if maps:
        return _choose_validation(maps)
    raise _unknown(folder)


def _recognise_others(folder: Folder) -> Layout | None:
    """Find annotations of objects in another format than COCO."""
    found = [form for form in FORMATS if form.finds(folder)]
    if not found:
        return None
    first, *others = found
    notes = (f'not used: {other.name} annotations' for other in others)
    read = partial(first.read, folder)
    return Layout(folder.root, 'coco', {}, tuple(notes), format=first.name, read=read)


def _unknown(folder: Folder) -> UserError:
    root, formats = folder.root, listed((form.name for form in FORMATS), len(FORMATS))
    reasons = {file.relative_to(root): _why_no_coco(file) for file in _jsons(root)}
    if task := next((file for file in reasons if _OTHER_TASKS.match(file.name)), None):
        return UserError(
            f'{root}: {task} is for another task; if it has boxes or masks, give its path'
        )
    if known := name_annotations(folder):
        return UserError(f'{root}: {known}. COCO, label maps, {formats} are read')
    broken = [f'{file} ({reason})' for file, reason in reasons.items() if reason]
    jsons = f'. No COCO JSON is {listed(broken)}' if broken else ''
    kind = UserError if broken else UnknownDataError
    return kind(
        f'{root}: neither a COCO JSON (looked for *.json and */*.json with images, annotations '
        f'and categories) nor label maps (looked for {" or ".join(IMAGE_FOLDERS[:2])} and '
        f'{", ".join(MAP_FOLDERS[:3])} ..., with train and val inside or around them) nor '
        f'annotations of {formats}{jsons}'
    )


def _has_map_for_each_image(layout: Layout) -> bool:
    return all(
        len(label_maps_in(paths.annotations)) >= len(images_in(paths.images))
        for paths in layout.splits.values()
    )


def _why_no_coco(path: Path) -> str:
    """Say why a file cannot be COCO annotations; empty if it has their three keys."""
    missing, suffix = missing_keys(path), path.suffix.lower()
    if missing and suffix in PACKED:
        return 'it is an archive; unpack it, and give the folder'
    if missing and suffix == '.json' and is_cut_off(path):
        return 'it is empty, or its end is missing; copy it again'
    return f'it has no {listed(map(repr, missing))} in UTF-8' if missing else ''


def absolute(path: str | Path) -> Path:
    """Return the absolute path of a file or folder that exists, and that a config can name."""
    try:
        path = Path(path).expanduser().resolve()
        exists = path.is_file() or path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, an unknown ~user
        raise UserError(printable(f'{path}: {error}')) from None
    if not exists:
        raise UserError(f'{printable(str(path))}: no such file or folder')
    check_fits_config(path)
    return path


def check_fits_config(path: Path) -> None:
    """Raise a UserError if a config cannot hold a path."""
    if not fits_config(str(path)):
        raise UserError(
            f'{printable(str(path))}: the path has "{{{{" or a character that is no text, which a '
            'config cannot hold: rename the folder'
        )


def _choose_validation(layout: Layout) -> Layout:
    splits, notes = with_validation(layout.root, layout.splits)
    return replace(layout, splits=splits, notes=(*layout.notes, *notes))


def with_validation(root: Path, splits: dict[str, Split]) -> tuple[dict[str, Split], list[str]]:
    """Validate on the test split if there is no other; return the splits, and notes.

    Raises:
        UserError: There is no training split.
    """
    if 'train' not in splits:
        raise UserError(
            f'{root}: there is no training split, only {", ".join(splits)}: put "train" '
            'into the name of its folder or JSON, or give the path of one JSON to be split'
        )
    if 'val' in splits or 'test' not in splits:
        return splits, []
    note = 'no validation split: the test split is used for validation'
    return {**splits, 'val': splits['test']}, [note]


# --- COCO format


def _recognise_coco(root: Path) -> Layout | None:
    jsons = [file for file in _jsons(root) if not _OTHER_TASKS.match(file.name)]
    others = [file for file in jsons if missing_keys(file)]
    jsons = [file for file in jsons if file not in others]
    if not jsons:
        return None
    # The file of a split must not be passed over in silence. A list of test images is one too.
    for file in filter(_split_of_json, others):
        if is_cut_off(file):
            raise UserError(f'{file}: not a COCO JSON: {_why_no_coco(file)}, or remove it')
    if len(jsons) == 1:
        return Layout(root, 'coco', {'train': _coco_split(root, jsons[0])})
    by_split: dict[str | None, list[Path]] = {}
    for file in jsons:
        by_split.setdefault(_split_of_json(file), []).append(file)
    without = by_split.pop(None, [])
    for split, files in by_split.items():
        named = [file for file in files if file.name.startswith('instances')]
        by_split[split] = named if len(named) == 1 else files
    unclear = next((files for files in by_split.values() if len(files) > 1), [])
    if unclear or not by_split:
        choices = ', '.join(str(file.relative_to(root)) for file in unclear or without)
        raise UserError(
            f'{root}: several COCO JSONs, and which to train on is not clear from their names: '
            f'{choices}. Give the path of one of them, or name them train and val'
        )
    splits = {split: _coco_split(root, files[0]) for split, files in by_split.items()}
    notes = (f'not used: {file.relative_to(root)}, its name has no split' for file in without)
    return Layout(root, 'coco', splits, tuple(notes))


def _jsons(root: Path) -> list[Path]:
    jsons = [*sorted(root.glob('*.json')), *sorted(root.glob('*/*.json'))]
    # No pipes, and no JSONs of Labelme: they may hold images, and searching those takes minutes.
    return [path for path in jsons if os.path.isfile(path) and not is_labelme(path)]


def _split_of_json(path: Path) -> str | None:
    return split_of(path.stem) or split_of(path.parent.name)


def _coco_split(root: Path, annotations: Path) -> SplitPaths:
    """Find the images of a JSON: in the folder of its split if it has any, else where most are."""
    split = _split_of_json(annotations)
    sample = list(islice(image_names(annotations), _SAMPLE))

    def rank(folder: Path) -> tuple[int, ...]:
        own_split = split_of_folder(folder, root)
        # os.path.isfile is False, and no error, for names that no file can have.
        at_path = sum(os.path.isfile(folder / name) for name in sample)
        count = at_path or sum(os.path.isfile(folder / base_name(name)) for name in sample)
        if split and own_split == split and not count:
            # The images of the sample may be the missing ones.
            names = image_names(annotations)
            count = any(os.path.isfile(folder / base_name(name)) for name in names)
        # The folder of another split may hold images of the same names, and more of them if some
        # are missing here. The checks report what is missing, so a gap must not move the split.
        fits = not split or own_split in (split, None)
        return count > 0, fits, at_path > 0, bool(split) and own_split == split, count

    return SplitPaths(max(_image_folders(root, annotations), key=rank), annotations)


def _image_folders(root: Path, annotations: Path) -> Iterable[Path]:
    """Return the folders that may hold images, most likely first; the first of equals is taken."""
    folders = [annotations.parent, root]
    if root.is_dir():
        below = [folder for folder in sorted(root.glob('*')) if folder.is_dir()]
        below += [inner for folder in below for inner in sorted(folder.glob('*')) if inner.is_dir()]
        folders += below
    return dict.fromkeys(folders)


# --- label maps


def _recognise_maps(root: Path) -> Layout | None:
    """Find folders of images and label maps, with the splits inside, around them, or without."""
    pair = _folder_pair(root)
    if pair and (splits := _splits_inside(pair)):
        like_ade20k = pair.annotations.name == 'annotations' and (pair.images / 'training').is_dir()
        used = {paths.images for paths in splits.values()}
        others = [folder.name for folder in folders_in(pair.images) if folder not in used]
        notes = [f'not used: {listed(map(printable, others))} in {pair.images}'] if others else []
        return Layout(root, 'maps', splits, tuple(notes), like_ade20k)
    named = (folder for folder in folders_in(root) if split_of(folder.name))
    pairs = {folder: inner for folder in named if (inner := _folder_pair(folder))}
    splits = {split: pairs[folder] for split, folder in _by_split(pairs).items()}
    if not splits and pair:
        splits = {'train': pair}
    return Layout(root, 'maps', splits) if splits else None


def _splits_inside(pair: SplitPaths) -> dict[str, SplitPaths]:
    images, maps = (_by_split(folders_in(top)) for top in (pair.images, pair.annotations))
    return {split: SplitPaths(images[split], maps[split]) for split in images if split in maps}


def _by_split(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the folders that are named after a split.

    Raises:
        UserError: Several of them are named after one split.
    """
    by_split: dict[str, list[Path]] = {}
    for folder in folders:
        if split := split_of(folder.name):
            by_split.setdefault(split, []).append(folder)
    for split, same in by_split.items():
        if len(same) > 1:
            names = listed(printable(folder.name) for folder in same)
            raise UserError(
                f'{same[0].parent}: several folders are named after the {split} split: {names}. '
                'Put their files into one folder, or rename the others'
            )
    return {split: folder for split, (folder,) in by_split.items()}


def _folder_pair(root: Path) -> SplitPaths | None:
    images = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    maps = next((root / name for name in MAP_FOLDERS if (root / name).is_dir()), None)
    if images and maps and any(map(_is_png, walk(maps, []))):
        return SplitPaths(images, maps)
    return None


def label_maps_in(folder: Path) -> list[Path]:
    """Return the PNGs of :func:`files_below`."""
    return list(filter(_is_png, files_below(folder)))


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == '.png'
