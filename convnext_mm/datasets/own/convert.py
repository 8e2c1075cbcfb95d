"""Write a data set of the user in COCO or YOLO format: ``convnext-mm convert-data PATH OUT``.

The annotations are the checked and repaired ones that a training would use.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
import yaml
from pycocotools import mask as rle

from convnext_mm.datasets.own.check import CheckedData
from convnext_mm.datasets.own.coco import problems
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations
from convnext_mm.datasets.own.formats.shapes import joined
from convnext_mm.datasets.own.write import split_coco
from convnext_mm.errors import UserError
from convnext_mm.messages.wording import counted

# Where the images of a split are.
_IMAGES = {'coco': '{}', 'yolo': 'images/{}'}
_LABELS = 'labels/{}'


def convert_data(
    checked: CheckedData,
    out: str | Path,
    to: Literal['coco', 'yolo'] = 'coco',
    *,
    images: Literal['link', 'copy'] = 'link',
    boxes: bool = False,
    split: bool = False,
) -> list[str]:
    """Write checked objects and their images into a new folder, completely or not at all.

    Args:
        checked: The data set.
        out: The folder, which must not exist.
        to: ``coco`` for ``annotations/instances_train.json`` and ``train/``, ``yolo`` for
            ``data.yaml``, ``images/train`` and ``labels/train``.
        images: ``link`` for symbolic links to the images of the user, ``copy`` for copies.
        boxes: Leave the masks out.
        split: Set validation images aside if there are none, as a training does.

    Returns:
        One line for each thing that was written or left out.

    Raises:
        UserError: The data set has errors or no objects, or the folder exists or cannot be written.
    """
    out = Path(out).expanduser().absolute()
    if os.path.lexists(out):
        raise UserError(f'{out} exists: give the name of a new folder')
    if checked.labels:
        raise UserError(f'{checked.layout.root} holds label maps, and only objects are converted')
    mixed = problems.SOME_MASKS.what
    errors = [error for error in checked.errors if not (boxes and error.what == mixed)]
    if errors:
        kinds = counted(len(errors), 'kind')
        raise UserError(f'{checked.layout.root} has {kinds} of error: correct them first')
    splits = dict(checked.splits)
    if splits.get('val') is splits.get('test'):
        splits.pop('val', None)  # A training validates on the test split.
    if split and len(splits) == 1:
        splits = split_coco(splits['train'])
    temporary = out.with_name(f'.{out.name}.{os.getpid()}')
    try:
        temporary.mkdir(parents=True)
        write = _write_yolo if to == 'yolo' else _write_coco
        lines = [*write(splits, temporary, boxes, _PLACED[images])]
        temporary.rename(out)
    except OSError as error:
        raise UserError(f'{out}: cannot be written: {error.strerror}') from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [*lines, f'written: {out}']


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError as error:
        raise UserError(f'{target}: no link: {error.strerror}; use --images copy') from None


Place = Callable[[Path, Path], object]
_PLACED: dict[str, Place] = {'link': _link, 'copy': shutil.copyfile}


def _write_coco(
    splits: dict[str, CocoAnnotations], out: Path, boxes: bool, place: Place
) -> Iterator[str]:
    left_out = ('place', 'segmentation') if boxes else ('place',)
    for split, coco in splits.items():
        names = _place_images(coco, out / _IMAGES['coco'].format(split), place)
        content = dict(
            coco.content,
            images=[dict(image, file_name=names[image['id']]) for image in coco.content['images']],
            annotations=[
                {key: value for key, value in obj.items() if key not in left_out}
                for obj in coco.content['annotations']
            ],
        )
        path = out / 'annotations' / f'instances_{split}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content), encoding='utf-8')
        yield _counts(split, coco)


def _write_yolo(
    splits: dict[str, CocoAnnotations], out: Path, boxes: bool, place: Place
) -> Iterator[str]:
    classes = splits['train'].classes
    settings = {split: _IMAGES['yolo'].format(split) for split in splits}
    settings['names'] = dict(enumerate(classes))
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    (out / 'data.yaml').write_text(text, encoding='utf-8')
    for split, coco in splits.items():
        names = _place_images(coco, out / _IMAGES['yolo'].format(split), place)
        numbers = {c['id']: number for number, c in enumerate(coco.content['categories'])}
        images, lines, crowds = coco.images_by_id(), {}, 0
        for obj in coco.content['annotations']:
            if obj['iscrowd']:
                crowds += 1
                continue
            image = images[obj['image_id']]
            values = _fractions(obj, (image['width'], image['height']), boxes)
            line = ' '.join([str(numbers[obj['category_id']]), *(f'{v:.6f}' for v in values)])
            lines.setdefault(obj['image_id'], []).append(line)
        for image_id, own in lines.items():
            path = (out / _LABELS.format(split) / names[image_id]).with_suffix('.txt')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('\n'.join(own) + '\n', encoding='utf-8')
        yield _counts(split, coco)
        if crowds:
            yield f'{split}: {counted(crowds, "crowd")} left out: YOLO has none'


def _counts(split: str, coco: CocoAnnotations) -> str:
    images, objects = (len(coco.content[key]) for key in ('images', 'annotations'))
    return f'{split}: {counted(images, "image")}, {counted(objects, "object")}'


def _place_images(coco: CocoAnnotations, folder: Path, place: Place) -> dict[object, str]:
    """Link or copy the images of a split; return their names below the folder, by image id.

    They keep their folders. No two of them differ in the ending only, because YOLO's labels have
    another ending.
    """
    names: dict[object, str] = {}
    used: dict[str, Path] = {}
    for image in coco.content['images']:
        source = (coco.paths.images / image['file_name']).absolute()
        path = PurePosixPath(image['file_name'])
        path = PurePosixPath(*(part for part in path.parts if part not in ('..', '/')))
        number, stem = 1, path.stem
        while used.setdefault(str(path.with_suffix('')), source) != source:
            number += 1
            path = path.with_name(f'{stem}_{number}{path.suffix}')
        names[image['id']] = str(path)
        target = folder / path
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            place(source, target)
    return names


def _fractions(obj: dict, size: tuple[int, int], boxes: bool) -> list[float]:
    """Return the numbers of a line: the box from its centre, or the polygon of the mask."""
    mask = None if boxes else obj.get('segmentation')
    if not mask:
        x, y, w, h = obj['bbox']
        values = [x + w / 2, y + h / 2, w, h]
    else:
        values = joined(mask if isinstance(mask, list) else _outlines(mask))
    fractions = np.array(values).reshape(-1, 2) / size
    return fractions.clip(0, 1).ravel().tolist()


def _outlines(mask: dict) -> list[list[float]]:
    """Return polygons that hold the centres of the pixels of a run-length encoding, and no others.

    Their lines are a quarter of a pixel inside of the edges of the pixels.
    """
    if isinstance(mask['counts'], list):
        mask = rle.frPyObjects(mask, *mask['size'])
    x, y, w, h = map(int, rle.toBbox(mask))
    pixels = rle.decode(mask)[y : y + h, x : x + w]
    twice = pixels.repeat(2, 0).repeat(2, 1)
    outlines, _ = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [((line.reshape(-1, 2) + 0.5) / 2 + (x, y)).ravel().tolist() for line in outlines]
