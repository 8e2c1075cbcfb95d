"""Results of a segmentor as label maps: a grey PNG for each image, in a folder or a zip file.

A pixel is the index of its class, starting at 0. A file is named after its image.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from os.path import commonpath
from pathlib import Path, PurePath, PurePosixPath

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import Tensor

from convnext_mm.datasets.image_files import UNREADABLE
from convnext_mm.errors import UserError
from convnext_mm.messages.wording import such_as

_MAPS = ('gt_sem_seg', 'pred_sem_seg')  # their names in a data sample
# A PNG needs at most two bytes for a pixel, and some for its parts.
_BYTES_PER_PIXEL, _OTHER_BYTES = 3, 2**16
_MODES = ('1', 'L', 'P', 'I', 'I;16', 'I;16B')  # of Pillow: one channel
_DEPTH = 24  # the byte of a PNG with the bits per channel
# What zipfile raises for a broken file, depending on where it is broken.
_BROKEN = (OSError, EOFError, RuntimeError, LZMAError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class _File:
    name: str
    size: int
    read: Callable[[], bytes]

    @property
    def is_hidden(self) -> bool:
        """Whether macOS made the file, beside the ones of the user."""
        return any(part.startswith(('.', '__MACOSX')) for part in self.name.split('/'))


def names_of(images: Sequence[str]) -> list[str]:
    """Return the name of the label map of each image, without suffix.

    It is the stem of the image. If several images have one stem, it is the path of the image
    below the folder that holds all images, with the suffix of the image if that is needed too.
    """
    paths = [PurePath(image) for image in images]
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(set(paths)):
        return stems
    top = commonpath([path.parent for path in paths])
    below = [path.relative_to(top) for path in paths]
    names = [path.with_suffix('').as_posix() for path in below]
    return names if len(set(names)) == len(set(paths)) else [path.as_posix() for path in below]


def record(image: str, truth: np.ndarray | Tensor, predicted: np.ndarray | Tensor) -> dict:
    """Return ground truth and prediction, (H, W), as PNGs, in the form of MMSegmentation's."""
    maps = zip(_MAPS, (truth, predicted))
    return dict(img_path=image) | {key: dict(data=as_png(value)) for key, value in maps}


def record_of(sample: BaseDataElement) -> dict:
    """Return the record of a data sample of MMSegmentation."""
    maps = (sample.get(key).data.squeeze(0) for key in _MAPS)
    return record(sample.get('img_path', ''), *maps)


def pair_of(record: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Return ground truth and prediction of a record, (H, W) integer labels.

    Raises:
        UserError: The record has no label maps.
    """
    try:
        truth, predicted = (_unpacked(record[key]['data']) for key in _MAPS)
    except (KeyError, TypeError, ValueError, cv2.error):
        raise UserError(
            'the predictions contain no label maps with ground truth: check that they belong to '
            'this config'
        ) from None
    return truth, predicted


def _unpacked(data: object) -> np.ndarray:
    if isinstance(data, bytes):
        data = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[None]
    labels = np.asarray(data).squeeze(0)
    if labels.ndim != 2 or labels.dtype.kind not in 'iu':
        raise ValueError
    return labels


def as_png(labels: np.ndarray | Tensor) -> bytes:
    """Encode (H, W) labels without loss, about 20 kB per image."""
    level = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return cv2.imencode('.png', smallest(labels), level)[1].tobytes()


def smallest(labels: np.ndarray | Tensor) -> np.ndarray:
    """Convert labels to the smallest integers that fit."""
    if isinstance(labels, Tensor):
        kind = torch.uint8 if labels.max() < 256 else torch.int32  # small before leaving the GPU
        labels = labels.to(kind).cpu().numpy()
    return labels.astype(np.min_scalar_type(labels.max()))


def write(path: Path, images: Sequence[str], pngs: Iterable[bytes]) -> None:
    """Write label maps into a folder or, if the path ends in .zip, into a zip file.

    Args:
        path: The folder, or the zip file.
        images: The paths of the images.
        pngs: Their label maps.
    """
    files = zip((f'{name}.png' for name in names_of(images)), pngs)
    if path.suffix == '.zip':
        unfinished = path.with_name(f'.{path.name}.unfinished')
        with zipfile.ZipFile(unfinished, 'w') as archive:  # PNGs are compressed already
            for name, png in files:
                archive.writestr(name, png)
        unfinished.replace(path)
        return
    for name, png in files:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)


def read(
    path: Path, images: Sequence[str], truth: Callable[[int], np.ndarray], classes: Sequence[str]
) -> list[dict]:
    """Return a record of each image, with its ground truth and its prediction as PNGs.

    Args:
        path: A folder, or a zip file.
        images: The paths of the tested images.
        truth: A function that returns the ground truth, (H, W), of an image by its number.
        classes: The names of the classes.

    Raises:
        UserError: Files and images do not match one to one, or a file is no label map of its image.
    """
    try:
        with _archive(path) as archive:
            records = []
            for number, file in enumerate(_match(path, names_of(images), archive)):
                labels = truth(number)
                predicted = _labels(path, file, labels.shape, classes)
                records.append(record(images[number], labels, predicted))
            return records
    except _BROKEN as error:
        raise UserError(f'{path} cannot be read: {error}') from error


@contextmanager
def _archive(path: Path) -> Iterator[list[_File]]:
    """Yield the PNGs in a folder or a zip file. Nothing is unpacked to the disk."""
    if path.is_dir():
        found = [file.relative_to(path).as_posix() for file in path.rglob('*.png')]
        yield [_File(n, (path / n).stat().st_size, (path / n).read_bytes) for n in found]
        return
    with zipfile.ZipFile(path) as archive:
        yield [
            _File(info.filename, info.file_size, partial(archive.read, info))
            for info in archive.infolist()
            if not info.is_dir()
        ]


def _match(path: Path, names: Sequence[str], files: Sequence[_File]) -> list[_File]:
    """Return the file of each name.

    Raises:
        UserError: A file or an image is left over.
    """
    pngs = [f for f in files if f.name.endswith('.png') and not f.is_hidden]
    plain = all('/' not in name for name in names)
    by_name: dict[str, _File] = {}
    for file in pngs:
        name = PurePosixPath(file.name).stem if plain else file.name.removesuffix('.png')
        if name in by_name:
            raise UserError(f'{path}: two label maps for {name}: {by_name[name].name}, {file.name}')
        by_name[name] = file
    missing = [name for name in names if name not in by_name]
    if missing:
        there = f'; it has {such_as(list(by_name), "label map")}' if by_name else ''
        raise UserError(
            f'{path}: no label map for {such_as(missing, "image")}{there}. Expected a PNG with the '
            'name of the image for each image of the config'
        )
    more = [file.name for name, file in by_name.items() if name not in set(names)]
    if more:
        raise UserError(f'{path}: {such_as(more, "label map")} without an image in the config')
    return [by_name[name] for name in names]


def _labels(path: Path, file: _File, shape: tuple[int, int], classes: Sequence[str]) -> np.ndarray:
    """Decode a label map, (H, W), that has the size of the ground truth."""
    name = f'{path}: {file.name}'
    if file.size > math.prod(shape) * _BYTES_PER_PIXEL + _OTHER_BYTES:
        raise UserError(f'{name} has {file.size:,} bytes, too many for {shape[1]}x{shape[0]} px')
    try:
        png = file.read()
        with Image.open(io.BytesIO(png), formats=['PNG']) as image:
            if image.size != shape[::-1]:
                raise UserError(
                    f'{name} is {image.width}x{image.height}, expected {shape[1]}x{shape[0]} as in '
                    'the ground truth'
                )
            if image.mode not in _MODES:
                bands = len(image.getbands())
                raise UserError(f'{name} has {bands} channels, expected one with class indices')
            if png[_DEPTH] in (2, 4) and image.mode == 'L':  # which Pillow scales to 0..255
                raise UserError(f'{name} has {png[_DEPTH]} bits per pixel, expected 8 or 16')
            labels = np.asarray(image)
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f'{name} is no PNG, or is damaged: {error}') from error
    if labels.max(initial=0) >= len(classes):
        raise UserError(
            f'{name} has label {labels.max()}, expected class indices from 0 to {len(classes) - 1}'
        )
    return labels
