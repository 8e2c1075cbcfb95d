"""What a folder of a user's own holds: a COCO-format data set or label maps, by its names.

Nothing is read but names of files; whether what they hold is right is ``check_coco`` and
``check_maps``. Recognised are, for COCO's format (``*`` may be ``train``, ``training``, ``val``,
``valid``, ``validation``, ``dev``, ``test``, with anything that is no letter around it)::

    annotations/instances_*2017.json  *2017/          as COCO
    */_annotations.coco.json          */              as Roboflow writes it, images beside it
    *.json                            images/ ...     with one folder of images or several
    annotations.json                  images/ ...     no splits: one is made

and for label maps, PNGs whose pixels are class ids, with the names of their images::

    images/*/   annotations/*/                        as ADE20K
    */images/   */masks/                              the split first
    images/     masks/                                no splits: one is made

with the names of the classes in ``classes.txt``, one a line, in the order of their ids.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from convnext_mm.errors import UserError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
NAMES_FILES = ('classes.txt', 'labels.txt', 'names.txt', 'class_names.txt', 'objectInfo150.txt')
PALETTE_FILE = 'palette.txt'

_SPLITS = {
    'train': ('train', 'training'),
    'val': ('val', 'valid', 'validation', 'dev'),
    'test': ('test', 'testing'),
}
_IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'JPEGImages', 'leftImg8bit')
_MAP_FOLDERS = (
    *('annotations', 'masks', 'mask', 'labels', 'label', 'labelmaps', 'ann', 'anns', 'gt'),
    *('SegmentationClass', 'gtFine', 'segmentations'),
)
# Of COCO's own JSONs, those for other tasks.
_OTHER_TASKS = re.compile(r'^(captions|person_keypoints|stuff|panoptic|image_info)_')
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True)
class Part:
    """One split of a data set, as it lies on the disk.

    Attributes:
        images: Folder of its images.
        annotations: Its COCO JSON, or the folder of its label maps.
    """

    images: Path
    annotations: Path


@dataclass(frozen=True)
class Found:
    """A data set that was recognised.

    Attributes:
        root: The user's folder, absolute.
        kind: ``coco`` or ``maps``.
        parts: By split, ``train`` and perhaps ``val`` and ``test``. Without ``val``, validation
            images are to be taken out of the training images.
        notes: What was decided on the way, for the user to read.
        ade: For label maps, whether the folders are called as ADE20K's, whose id 0 is no class.
    """

    root: Path
    kind: str
    parts: dict[str, Part]
    notes: list[str] = field(default_factory=list)
    ade: bool = False


def recognise(path: str | Path) -> Found:
    """See what is in a folder, or beside a COCO JSON.

    Raises:
        UserError: There is nothing, nothing that is known, or more than one possibility; the
            message says what was looked for.
    """
    path = Path(path).expanduser().resolve()
    if not path.exists():
        raise UserError(f'{path}: no such folder')
    if path.is_file():
        root = path.parent.parent if path.parent.name == 'annotations' else path.parent
        if not _looks_like_coco(path):
            raise UserError(f'{path}: no COCO JSON, which has images, annotations and categories')
        return _with_validation(Found(root, 'coco', {'train': _coco_part(root, path)}))
    found = _coco(path) or _maps(path)
    if found is None:
        raise UserError(
            f'{path}: neither a COCO JSON (looked for *.json and */*.json with images, annotations '
            f'and categories) nor label maps (looked for {" or ".join(_IMAGE_FOLDERS[:2])} and '
            f'{", ".join(_MAP_FOLDERS[:3])} ..., with train and val in them or around them)'
        )
    return _with_validation(found)


def split_of(name: str) -> str | None:
    """The split that a file's or folder's name speaks of: ``instances_val2017`` is ``val``."""
    words = re.findall(r'[a-z]+', name.lower())
    return next((s for s, known in _SPLITS.items() if any(w in known for w in words)), None)


def images_in(folder: Path) -> Iterator[Path]:
    """The images below a folder, in the order of their names."""
    files = sorted(folder.rglob('*')) if folder.is_dir() else []
    return (file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)


def local_name(file_name: str) -> str:
    """A ``file_name`` without the folders of the computer it was written on."""
    return re.split(r'[\\/]', file_name)[-1]


def below(path: Path, root: Path) -> str:
    """A path as one writes it beside a root: relative, if it is inside."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _with_validation(found: Found) -> Found:
    """Choose what is validated on: a part of the user's, or later a part of the training images."""
    parts = dict(found.parts)
    if 'train' not in parts:
        raise UserError(
            f'{found.root}: no training split among {", ".join(parts)}; '
            'call its folder or JSON train, or give the one JSON to be split'
        )
    if 'val' not in parts and 'test' in parts:
        parts['val'] = parts['test']
        found.notes.append('no validation split: the test split is validated on')
    return Found(found.root, found.kind, parts, found.notes, found.ade)


# --- COCO's format


def _coco(root: Path) -> Found | None:
    jsons = [file for file in _jsons(root) if not _OTHER_TASKS.match(file.name)]
    jsons = [file for file in jsons if _looks_like_coco(file)]
    if not jsons:
        return None
    if len(jsons) == 1:
        return Found(root, 'coco', {'train': _coco_part(root, jsons[0])})
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
            f'{choices}. Give one of them, or name them train and val'
        )
    parts = {split: _coco_part(root, files[0]) for split, files in by_split.items()}
    notes = [f'not used: {file.relative_to(root)}, whose name is of no split' for file in without]
    return Found(root, 'coco', parts, notes)


def _jsons(root: Path) -> list[Path]:
    return [*sorted(root.glob('*.json')), *sorted(root.glob('*/*.json'))]


def _looks_like_coco(path: Path) -> bool:
    """Whether a JSON names what COCO's do; COCO's own takes half a minute to parse."""
    keys = (b'"images"', b'"annotations"', b'"categories"')
    with open(path, 'rb') as file:
        if not file.read(1):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return all(text.find(key) >= 0 for key in keys)


def _split_of_json(path: Path) -> str | None:
    return split_of(path.stem) or split_of(path.parent.name)


def _coco_part(root: Path, annotations: Path) -> Part:
    """A JSON with the folder of its split if that holds any of its images, else of the most."""
    split = _split_of_json(annotations)
    first = list(islice(_file_names(annotations), 50))

    def rank(folder: Path) -> tuple[int, ...]:
        named = split and _split_of_folder(folder, root)
        exact = sum((folder / name).is_file() for name in first)
        count = exact or sum((folder / local_name(name)).is_file() for name in first)
        if named and named == split and not count:  # the first may be what is missing
            count = any((folder / local_name(n)).is_file() for n in _file_names(annotations))
        # Another split may hold images of the same names, and more of them where one is missing
        # here: the gap is for the checks to report. Last names alone are second choice.
        return count > 0, named in (split, None), exact > 0, named == split, count

    return Part(max(_image_folders(root, annotations), key=rank), annotations)


def _file_names(path: Path) -> Iterator[str]:
    with (
        open(path, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        for match in _FILE_NAME.finditer(text):
            yield json.loads(match[1])


def _split_of_folder(folder: Path, root: Path) -> str | None:
    """The split that a folder, or one between it and the root, is named for."""
    names = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
    return next(filter(None, map(split_of, reversed(names))), None)


def _image_folders(root: Path, annotations: Path) -> Iterable[Path]:
    """Folders to look for images in, the likeliest first; the first of equals is taken."""
    folders = [annotations.parent, root]
    if root.is_dir():
        below = [folder for folder in sorted(root.glob('*')) if folder.is_dir()]
        below += [inner for folder in below for inner in sorted(folder.glob('*')) if inner.is_dir()]
        folders += below
    return dict.fromkeys(folders)


# --- label maps


def _maps(root: Path) -> Found | None:
    """Folders of images and of label maps, the splits in them, around them or not at all."""
    pair = _pair(root)
    inside, around = {}, {}
    if pair:
        images, maps = pair
        map_folders = {split_of(f.name): f for f in sorted(maps.glob('*')) if f.is_dir()}
        for folder in sorted(images.glob('*')):
            split = split_of(folder.name)
            if folder.is_dir() and split and split in map_folders:
                inside[split] = Part(folder, map_folders[split])
    if inside:
        ade = maps.name == 'annotations' and (images / 'training').is_dir()
        return Found(root, 'maps', inside, ade=ade)
    for folder in sorted(root.glob('*')):
        split = split_of(folder.name)
        if folder.is_dir() and split and (inner := _pair(folder)):
            around[split] = Part(*inner)
    if around:
        return Found(root, 'maps', around)
    return Found(root, 'maps', {'train': Part(*pair)}) if pair else None


def _pair(root: Path) -> tuple[Path, Path] | None:
    images = next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), None)
    maps = next((root / name for name in _MAP_FOLDERS if (root / name).is_dir()), None)
    return (images, maps) if images and maps and any(maps.rglob('*.png')) else None
