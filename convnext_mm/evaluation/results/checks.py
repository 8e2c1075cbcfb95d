"""Check detections from a file before anything computes with them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from convnext_mm.datasets.rle import covers
from convnext_mm.errors import UserError
from convnext_mm.evaluation.detections import Detections
from convnext_mm.messages.wording import shown

_LARGEST = 1e9  # a coordinate in px, or a score; areas stay exact enough to compare


def check_labels(
    found: Detections, images: Mapping[Hashable, dict], classes: int, name: str
) -> None:
    """Refuse images and labels that the annotation file and the config do not have.

    Args:
        found: The detections.
        images: The images of the annotation file by id.
        classes: The number of classes.
        name: How a message names a detection, before its number.

    Raises:
        UserError: An id is unknown, or the arrays have different lengths.
    """
    unknown = [image for image in found.tested if image not in images]
    if unknown:
        raise UserError(
            f'image {shown(unknown[0])} is not in the annotation file: check that the predictions '
            'belong to this config'
        )
    columns = (found.images, found.boxes, found.scores, found.masks, found.mask_scores)
    if {len(column) for column in columns if column is not None} - {len(found)}:
        raise UserError('the predictions have different numbers of boxes, scores, labels or masks')
    wrong = (found.labels < 0) | (found.labels >= classes)
    _refuse(name, 'label', found.labels, wrong, f'the number of a class, from 0 to {classes - 1}')


def check_numbers(found: Detections, name: str) -> None:
    """Refuse boxes and scores that no evaluation can use.

    Args:
        found: The detections.
        name: How a message names a detection, before its number.

    Raises:
        UserError: A value is not finite, negative where it must not be, or far too large.
    """
    for key, scores in (('score', found.scores), ('mask_score', found.mask_scores)):
        if scores is not None:
            wrong = ~((scores >= 0) & (scores <= _LARGEST))
            _refuse(name, key, scores, wrong, f'a number from 0 to {_LARGEST:.0f}')
    wrong = ~(np.abs(found.boxes) <= _LARGEST).all(axis=1)
    _refuse(name, 'bbox', found.boxes, wrong, f'four numbers up to {_LARGEST:.0f}')
    wrong = (found.boxes[:, 2:] < 0).any(axis=1)
    _refuse(name, 'bbox', found.boxes, wrong, 'a width and a height that are not negative')


def check_masks(found: Detections, images: Mapping[Hashable, dict], name: str) -> None:
    """Refuse masks of another size than their image, and masks that are damaged.

    Args:
        found: The detections.
        images: The images of the annotation file by id.
        name: How a message names a detection, before its number.

    Raises:
        UserError: A mask does not fit its image.
    """
    for number, (mask, image_id) in enumerate(zip(found.masks or (), found.images.tolist())):
        image = images[image_id]
        size = [image.get('height'), image.get('width')]
        if list(mask['size']) != size:
            raise UserError(
                f'{name} {number}, segmentation.size: found {shown(list(mask["size"]))}, '
                f'expected {size}, the height and width of image {image_id}'
            )
        if not covers(mask['counts'], *size):
            raise UserError(
                f'{name} {number}, segmentation.counts: found '
                f'{shown(text(mask["counts"]))}, expected an RLE of {size[0] * size[1]} pixels'
            )


def _refuse(name: str, key: str, values: np.ndarray, wrong: np.ndarray, expected: str) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        value = shown(values[first].tolist())
        raise UserError(f'{name} {first}, {key}: found {value}, expected {expected}')


def text(counts: str | bytes | Sequence[int]) -> str | Sequence[int]:
    """Return the counts of an RLE as JSON can hold them."""
    return counts.decode('ascii', 'replace') if isinstance(counts, bytes) else counts
