"""YOLO: one text file an image, one object a line, coordinates in fractions of the image.

::

    data.yaml   images/train/a.jpg   labels/train/a.txt
    data.yaml   train/images/a.jpg   train/labels/a.txt
    data.yaml   images/a.jpg         labels/a.txt
    classes.txt a.jpg                a.txt
    obj.names   obj_train_data/a.jpg obj_train_data/a.txt

A line is ``class x y width height`` for a box, from its centre, or ``class x1 y1 x2 y2 ...`` for a
polygon. An image without a text file has no objects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import yaml

from convnext_mm.datasets.own.files import split_of, split_of_folder
from convnext_mm.datasets.own.formats import problems
from convnext_mm.datasets.own.formats.source import (
    Folder,
    Image,
    Object,
    Size,
    Source,
    head,
    nearest,
    number,
)
from convnext_mm.messages.wording import listed, shown

NAME = 'YOLO'
_IMAGES, _LABELS = 'images', 'labels'
_NAMES_FILES = ('classes.txt', 'obj.names', 'labels.txt', 'names.txt')
_SPLITS = {'train': ('train',), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}
_LINE = re.compile(r'\s*\d+(\.0+)?(\s+-?\d*\.?\d+([eE][-+]?\d+)?){4,}\s*')
_LISTS = ('train.txt', 'val.txt', 'valid.txt', 'test.txt')
_SAMPLE = 20  # text files of which one must look like labels
_MOST_CLASSES = 1000  # without names
_FAR = 2  # fractions of the image; beyond, a value is in pixels
_EXPECTED = (
    'a line of 5 numbers, "class x y width height", or of a class and 3 points or more: '
    '"class x1 y1 x2 y2 x3 y3 ..."'
)


def finds(folder: Folder) -> bool:
    """Tell whether the folder, or the data.yaml, is in this format."""
    if folder.file:
        return folder.file.suffix.lower() in ('.yaml', '.yml') and 'names' in head(folder.file)
    named = [path for path in _label_files(folder) if folder.with_stem(path.stem)]
    if any(_looks_like_labels(path) for path in named[:_SAMPLE]):
        return True
    return bool(named) and any('names:' in head(path) for path in folder.with_suffix('.yaml'))


def read(folder: Folder) -> Source:
    """Read the labels of all images."""
    source = Source(Folder(folder.root), NAME)
    settings, file = _settings(source, folder)
    names = _names(source, settings, file)
    keypoints = 'kpt_shape' in settings
    splits = _splits(source, settings, file)
    paths = [path for images in splits.values() for path in images]
    sizes = source.sizes(paths)
    files = _pair(source.folder, paths)
    by_path = {path: Image(path, file) for path, file in files.items()}
    for path, image in by_path.items():
        if path in sizes and os.path.isfile(image.file):
            image.objects = [*_objects(source, image.file, sizes[path], keypoints)]
    _name_classes(source, [*by_path.values()], names, file)
    for split, images in splits.items():
        for path in images:
            source.add(by_path[path], split)
    _check_spare(source, {*files.values()})
    return source


def labels_of(image: Path) -> Path:
    """Return where the labels of an image are: in ``labels`` for ``images``, or beside it."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index].lower() == _IMAGES:
            parts[index] = _LABELS if parts[index].islower() else _LABELS.capitalize()
            moved = Path(*parts).with_suffix('.txt')
            beside = image.with_suffix('.txt')
            return beside if os.path.isfile(beside) and not os.path.isfile(moved) else moved
    return image.with_suffix('.txt')


def _pair(folder: Folder, images: list[Path]) -> dict[Path, Path]:
    """Return where the labels of each image are.

    If the folders are not called images and labels, the names of the files tell.
    """
    files = {path: labels_of(path) for path in images}
    if any(map(os.path.isfile, files.values())):
        return files
    by_stem: dict[str, list[Path]] = {}
    for path in _label_files(folder):
        by_stem.setdefault(path.stem, []).append(path)
    for image in files:
        found = nearest(by_stem.get(image.stem, []), image)
        if len(found) == 1:
            files[image] = found[0]
    return files


def _label_files(folder: Folder) -> list[Path]:
    others = (*_NAMES_FILES, *_LISTS)
    return [path for path in folder.with_suffix('.txt') if path.name not in others]


def _looks_like_labels(path: Path) -> bool:
    line = next((line for line in head(path).splitlines() if line.strip()), '')
    return bool(_LINE.fullmatch(line))


# --- the names of the classes, and the splits


def _settings(source: Source, folder: Folder) -> tuple[dict, Path | None]:
    """Return the content of data.yaml, and the file; empty without one."""
    files = [folder.file] if folder.file else []
    for suffix in () if folder.file else ('.yaml', '.yml'):
        files += [path for path in folder.with_suffix(suffix) if 'names' in head(path)]
    files.sort(key=lambda path: (len(path.parts), path.name != 'data.yaml', path))
    if not files:
        return {}, None
    if len(files) > 1:
        others = listed(map(source.folder.place, files[1:]))
        source.notes.append(f'names and splits are from {files[0].name}; not used: {others}')
    text = source.text(files[0])
    try:
        settings = yaml.safe_load(text or '')
        if not isinstance(settings, dict):
            raise ValueError(f'expected "names: [...]", found {shown(settings)}')
        return settings, files[0]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        source.problem(problems.UNREADABLE, f'{source.folder.place(files[0])}: {reason}')
        return {}, files[0]


def _names(source: Source, settings: dict, file: Path | None) -> dict[str, str]:
    """Return the names by class id, as ``data.yaml`` or a list of names has them."""
    names = settings.get('names')
    if file and names is not None:
        try:
            pairs = names.items() if isinstance(names, dict) else enumerate([*names])
            named = {int(key): _name(name) for key, name in pairs}
            return {str(key): named[key] for key in sorted(named)}
        except (TypeError, ValueError):
            text = f'{source.folder.place(file)}: "names" is {shown(names)}, no list of names'
            source.problem(problems.UNREADABLE, text)
            return {}
    texts = [*source.folder.with_suffix('.txt'), *source.folder.with_suffix('.names')]
    files = [path for path in texts if path.name in _NAMES_FILES or path.suffix == '.names']
    for path in files[:1]:
        lines = (source.text(path) or '').splitlines()
        return {str(number): line.strip() for number, line in enumerate(lines) if line.strip()}
    return {}


def _name(value: object) -> str:
    if not isinstance(value, (str, int, float)):
        raise TypeError(value)
    return str(value)


def _name_classes(
    source: Source, images: list[Image], names: dict[str, str], file: Path | None
) -> None:
    """Replace the ids of all objects by names."""
    if not names:
        last = max((int(obj.label) for image in images for obj in image.objects), default=0)
        names = {str(number): f'class {number}' for number in range(min(last + 1, _MOST_CLASSES))}
        path = source.folder.root / _NAMES_FILES[0]
        source.problem(problems.NO_NAMES, names=listed(names.values()), file=path)
    for image in images:
        for obj in image.objects:
            if obj.label not in names:
                told = dict(count=len(names), file=file.name if file else 'the list of names')
                source.problem(problems.UNKNOWN_CLASS, f'{obj.place}: id {obj.label}', **told)
        image.objects = [obj for obj in image.objects if obj.label in names]
        for obj in image.objects:
            obj.label = names[obj.label]
    source.classes = [*names.values()]


def _splits(source: Source, settings: dict, file: Path | None) -> dict[str, list[Path]]:
    """Return the images of each split: from data.yaml, or from the names of folders."""
    splits = {}
    for split, keys in _SPLITS.items():
        key = next((key for key in keys if settings.get(key)), None)
        places = settings[key] if key else []
        places = places if isinstance(places, list) else [places]
        for place in places:
            images = _images_at(source, str(place), settings, file)
            if images is None:
                where = source.folder.place(file)
                source.notes.append(f'{where}: {key} is {place}, which is not there')
            splits.setdefault(split, []).extend(images or [])
    if any(splits.values()):
        return {split: images for split, images in splits.items() if images}
    lists = {p: split for p in source.folder.with_suffix('.txt') if (split := _list_split(p))}
    if lists:
        return {split: [*_listed(source, path)] for path, split in lists.items()}
    for path in source.folder.images:
        split = split_of_folder(path.parent, source.folder.root)
        splits.setdefault(split or '', []).append(path)
    return {split: images for split, images in splits.items() if images}


def _images_at(source: Source, place: str, settings: dict, file: Path) -> list[Path] | None:
    """Return the images of a split in data.yaml; None if its folder or list is not there.

    Ultralytics writes the path of another computer into ``path``, and Roboflow writes
    ``../train/images`` for ``train/images``: both are read as paths below the folder.
    """
    place = place.replace('\\', '/')
    inside = PurePosixPath(*(p for p in PurePosixPath(place).parts if p not in ('..', '/')))
    start = str(settings.get('path') or '.').replace('\\', '/')
    candidates = (file.parent / start / place, file.parent / place, file.parent / inside)
    for candidate in candidates:
        candidate = Path(os.path.normpath(candidate))
        if os.path.isdir(candidate):
            if candidate.is_relative_to(source.folder.root):
                return [p for p in source.folder.images if p.is_relative_to(candidate)]
            return Folder(candidate).images
        if os.path.isfile(candidate):
            return [*_listed(source, candidate)]
    return None


def _list_split(path: Path) -> str | None:
    """Return the split that a list of images is for, such as ``train.txt``."""
    split = split_of(path.stem) if path.name in _LISTS else None
    return split if split and '.' in next(iter(head(path).splitlines()), '')[-6:] else None


def _listed(source: Source, path: Path) -> Iterator[Path]:
    for line in (source.text(path) or '').splitlines():
        if line.strip() and (found := source.find(line.strip(), path)):
            yield found


# --- the objects


def _objects(source: Source, path: Path, size: Size, keypoints: bool) -> Iterator[Object]:
    text = source.text(path)
    for line_number, line in enumerate((text or '').splitlines(), 1):
        if not line.strip():
            continue
        place = f'{source.folder.place(path)} line {line_number}'
        try:
            identity, *values = map(number, line.split())
            if identity != int(identity) or identity < 0:
                raise ValueError(f'class {identity}')
        except ValueError:
            source.problem(problems.WRONG_VALUES, f'{place}: {shown(line)}', expected=_EXPECTED)
            continue
        if keypoints and len(values) > 4:
            source.problem(problems.KEYPOINTS, place)
            values = values[:4]
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            source.problem(problems.WRONG_VALUES, f'{place}: {shown(line)}', expected=_EXPECTED)
        elif max(map(abs, values)) > _FAR:
            source.problem(problems.PIXELS, f'{place}: {shown(line)}')
        else:
            yield _object(str(int(identity)), values, place, size)


def _object(label: str, values: list[float], place: str, size: Size) -> Object:
    width, height = size
    if len(values) == 4:
        x, y, w, h = values
        box = (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
        return Object(label, place, box=box)
    scale = (width, height) * (len(values) // 2)
    return Object(label, place, mask=[[v * side for v, side in zip(values, scale)]])


def _check_spare(source: Source, used: set[Path]) -> None:
    """Report labels without an image, in the folders of the others."""
    folders = {path.parent for path in used}
    for path in _label_files(source.folder):
        if path not in used and path.parent in folders and _looks_like_labels(path):
            place = source.folder.place(path)
            source.problem(problems.NO_IMAGE, place, root=source.folder.root)
