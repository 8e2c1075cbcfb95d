"""Pascal VOC: one XML an image.

::

    Annotations/a.xml   JPEGImages/a.jpg   ImageSets/Main/train.txt   SegmentationObject/a.png
    a.xml               a.jpg
    train/a.xml         train/a.jpg

The lists in ImageSets, or folders that are named after a split, are the splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from convnext_mm.datasets.image_files import UNREADABLE, open_image
from convnext_mm.datasets.own.files import base_name, split_of_folder
from convnext_mm.datasets.own.formats import problems, shapes
from convnext_mm.datasets.own.formats.source import (
    Folder,
    Image,
    Object,
    Source,
    head,
    nearest,
    number,
)
from convnext_mm.messages.wording import first_line, shown

NAME = 'Pascal VOC'
_SAMPLE = 20  # XML files of which one must be of this format
_LISTS = {'train': ('train', 'trainval'), 'val': ('val',), 'test': ('test',)}
_SIDES = ('xmin', 'ymin', 'xmax', 'ymax')
_FLAG = re.compile(r'\s+-?[01]\s*$')
_EXPECTED = 'four numbers xmin, ymin, xmax and ymax in pixels'


def finds(folder: Folder) -> bool:
    """Tell whether the folder has XML files in this format."""
    if folder.file:
        return False  # the file of one image
    files = folder.with_suffix('.xml')[:_SAMPLE]
    return any(re.search(r'<annotation[\s>]', head(path)) for path in files)


def read(folder: Folder) -> Source:
    """Read all XML files."""
    source = Source(folder, NAME)
    found: list[tuple[Image, dict[int, Object]]] = []
    for file in folder.with_suffix('.xml'):
        root = source.xml(file)
        if root is None or root.tag != 'annotation':
            continue
        if path := _image_path(source, file, root):
            image = Image(path, file, _size(root))
            objects = dict(_objects(source, file, root))
            image.objects = [*objects.values()]
            found.append((image, objects))
    _add_masks(source, found)
    _split(source, [image for image, _ in found])
    source.report_others(folder.with_suffix('.xml'))
    return source


def _image_path(source: Source, file: Path, root: Element) -> Path | None:
    """Return the image with the name of the XML; else the one that the XML names."""
    named = (root.findtext('filename') or '').strip()
    images = source.folder.with_stem(file.stem)
    images = [path for path in images if not path.parent.name.startswith('Segmentation')]
    same = nearest(images, file)
    if len(same) > 1 and named:
        same = [path for path in same if path.name == Path(named).name] or same
    if not same and named:
        return source.find(named, file)
    path = source.single(same, source.folder.place(file))
    other = Path(base_name(named)).stem.lower() not in ('', file.stem.lower())
    if path and other and source.folder.find(named, file.parent):
        source.problem(problems.OTHER_NAME, f'{source.folder.place(file)}: {named}')
    return path


def _size(root: Element) -> tuple[int, int] | None:
    """Return the size in the XML. Some tools write 0 for both sides."""
    try:
        width, height = (int(number(root.findtext(f'size/{side}'))) for side in ('width', 'height'))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _objects(source: Source, file: Path, root: Element) -> Iterator[tuple[int, Object]]:
    """Yield the objects with their numbers in the file, from 1."""
    # The VOC archives count pixels from 1. Other tools count from 0.
    database = root.findtext('source/database') or ''
    first = 1 if re.match(r'The VOC\d{4} Database', database) else 0
    for index, node in enumerate(root.findall('object'), 1):
        place = f'{source.folder.place(file)} object {index}'
        label = (node.findtext('name') or '').strip()
        if not label:
            source.problem(problems.NO_CLASS, place, key='name')
            continue
        try:
            x1, y1, x2, y2 = (number(node.findtext(f'bndbox/{side}')) for side in _SIDES)
            mask = _polygon(node.find('polygon'))
        except ValueError:
            values = [node.findtext(f'bndbox/{side}') for side in _SIDES]
            text = f'{place}: {shown(values)}'
            source.problem(problems.WRONG_VALUES, text, expected=_EXPECTED)
            continue
        x, y = x1 - first, y1 - first
        crowd = (node.findtext('difficult') or '').strip() == '1'
        if crowd:
            source.problem(problems.DIFFICULT, place)
        yield index, Object(label, place, (x, y, x2 - x, y2 - y), mask, crowd)


def _polygon(node: Element | None) -> list[list[float]] | None:
    """Return the polygon that Roboflow writes: x1, y1, x2, y2 and so on."""
    if node is None or not len(node):
        return None
    values = {child.tag: number(child.text) for child in node}
    count = len(values) // 2
    return [[values.get(f'{axis}{i}', 0) for i in range(1, count + 1) for axis in 'xy']]


def _add_masks(source: Source, found: list[tuple[Image, dict[int, Object]]]) -> None:
    """Read the masks in SegmentationObject, if each image with objects has one.

    The pixels of the i-th object in the XML have the value i.
    """
    maps = {path.stem: path for path in source.folder.images if _is_object_map(path)}
    with_objects = [(image, objects) for image, objects in found if objects]
    if not all(image.file.stem in maps for image, _ in with_objects):
        if maps:
            source.notes.append('SegmentationObject: not used, some images have no mask there')
        return
    for image, objects in with_objects:
        path = maps[image.file.stem]
        try:
            with open_image(path) as opened:
                values = np.asarray(opened)
            if values.ndim != 2:
                raise ValueError(f'mode {opened.mode}, expected one channel')
        except UNREADABLE as error:
            text = f'{source.folder.place(path)}: {first_line(error)}'
            source.problem(problems.UNREADABLE, text)
            continue
        for index, obj in objects.items():
            # A check compares the size of the mask with the image.
            obj.mask = shapes.encoded(values == index, 0, 0, values.shape[::-1])


def _is_object_map(path: Path) -> bool:
    return path.parent.name == 'SegmentationObject' and path.suffix.lower() == '.png'


# --- the splits


def _split(source: Source, images: list[Image]) -> None:
    """Split by the lists in ImageSets; without them, by the names of folders."""
    lists = _lists(source)
    if not lists:
        for image in images:
            source.add(image, split_of_folder(image.file.parent, source.folder.root))
        return
    by_stem = {image.file.stem: image for image in images}
    annotated = {file.stem for file in source.folder.with_suffix('.xml')}
    listed = set()
    for split, path in lists.items():
        for line in (source.text(path) or '').splitlines():
            # In the lists of a class, 1 or -1 follows. Some tools write paths.
            stem = line.strip()
            stem = stem if stem in by_stem else _FLAG.sub('', stem)
            if image := by_stem.get(stem) or by_stem.get(Path(stem).stem):
                source.add(image, split)
                listed.add(image.file)
            elif stem and stem not in annotated:
                source.problem(problems.LISTED_WITHOUT_FILE, f'{source.folder.place(path)}: {stem}')
    for image in images:
        if image.file not in listed:
            source.add(image)


def _lists(source: Source) -> dict[str, Path]:
    """Return the list of each split in ``ImageSets/Main``, or in another folder of ImageSets."""
    files = [p for p in source.folder.with_suffix('.txt') if 'ImageSets' in p.parts]
    files.sort(key=lambda path: path.parent.name != 'Main')
    found = {}
    for split, names in _LISTS.items():
        for name in names:
            path = next((path for path in files if path.stem == name), None)
            if path and split not in found:
                found[split] = path
    return found if 'train' in found else {}
