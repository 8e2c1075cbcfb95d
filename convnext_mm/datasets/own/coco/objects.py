"""Check the boxes and masks of COCO annotations, and repair them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from pycocotools import mask as rle

from convnext_mm.datasets.own.coco import problems
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations, name_objects
from convnext_mm.messages.findings import Finding

# Pixels that a box may reach over the border: rounding, and coordinates that start at 1.
_TOLERANCE = 1.0
# If more of the boxes than this reach out of their images, the boxes cannot be [x, y, w, h] there.
_MANY = 0.2


def repair_masks(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Check that masks can be rasterised, remove broken polygons, and compute missing boxes."""
    images = _images_by_id(coco)
    flat, some_invalid, only_invalid, bad_rle, other_size, without_box = [], [], [], [], [], []
    for obj in coco.content['annotations']:
        segmentation, image = obj.get('segmentation'), images[obj['image_id']]
        usable = bool(segmentation)
        if isinstance(segmentation, list) and segmentation:
            if not isinstance(segmentation[0], list):
                segmentation = [segmentation]
                flat.append(obj)
            polygons = [polygon for polygon in segmentation if _is_polygon(polygon)]
            usable = bool(polygons)
            if len(polygons) < len(segmentation):
                (some_invalid if usable else only_invalid).append(obj)
            obj['segmentation'] = polygons
        elif isinstance(segmentation, dict):
            size = image.get('height'), image.get('width')
            usable = _is_valid_rle(segmentation)
            if not usable:
                bad_rle.append(obj)
            elif list(segmentation['size']) != list(size) and None not in size:
                other_size.append(obj)
        if 'bbox' not in obj and usable:
            obj['bbox'] = _box_of_mask(obj)
            without_box.append(obj)
    coco.remove(only_invalid)
    yield from problems.FLAT_POLYGONS.cases(split, name_objects(flat))
    yield from problems.SOME_INVALID_POLYGONS.cases(split, name_objects(some_invalid))
    yield from problems.ONLY_INVALID_POLYGONS.cases(split, name_objects(only_invalid))
    yield from problems.MASK_SIZE.cases(split, name_objects(other_size))
    yield from problems.INVALID_RLE.cases(split, name_objects(bad_rle))
    yield from problems.NO_BOX.cases(split, name_objects(without_box))


def check_boxes(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Check that boxes are [x, y, width, height] in pixels, inside their images."""
    images = _images_by_id(coco)
    strange = [obj for obj in coco.content['annotations'] if not _is_box(obj.get('bbox'))]
    if strange:
        yield from problems.NOT_FOUR_NUMBERS.cases(split, name_objects(strange))
        return
    objects = [
        obj
        for obj in coco.content['annotations']
        if images[obj['image_id']].get('width') is not None
    ]
    if not objects:
        return
    boxes = np.array([obj['bbox'] for obj in objects], float)
    sizes = np.array(
        [[images[obj['image_id']][side] for side in ('width', 'height')] for obj in objects], float
    )
    if boxes.max() <= 1 and sizes.min() > 2:
        yield from problems.FRACTIONS.cases(split, _with_box(objects))
        return
    if _are_corners(boxes, sizes):
        yield from problems.CORNERS.cases(split, _with_box(objects))
        boxes[:, 2:] -= boxes[:, :2]
        _set_boxes(objects, boxes)
    reaches_out = _reach_out(boxes, sizes)
    if reaches_out.mean() > _MANY:
        yield from problems.MANY_OUTSIDE.cases(split, _with_box(_chosen(objects, reaches_out)))
        return
    empty = (boxes[:, 2:] <= 0).any(1)
    outside = ((boxes[:, :2] >= sizes) | (boxes[:, :2] + boxes[:, 2:] <= 0)).any(1) & ~empty
    yield from problems.OUTSIDE.cases(split, _with_box(_chosen(objects, outside)))
    across = reaches_out & ~outside & ~empty
    clipped = _chosen(objects, across)
    yield from problems.ACROSS_BORDER.cases(split, _with_box(clipped))
    low, high = np.clip(boxes[:, :2], 0, sizes), np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes)
    _set_boxes(clipped, np.hstack([low, high - low])[across])
    yield from problems.EMPTY_BOXES.cases(split, _with_box(_chosen(objects, empty)))
    coco.remove(_chosen(objects, empty))


def repair_areas(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Compute areas that are missing or not above 0."""
    images, repaired = _images_by_id(coco), []
    for obj in coco.content['annotations']:
        area, image = obj.get('area'), images[obj['image_id']]
        has_area = isinstance(area, (int, float)) and area > 0
        # Without a box or an image size there is an error already.
        if has_area or not _is_box(obj.get('bbox')) or image.get('width') is None:
            continue
        mask = _encoded(obj, image['height'], image['width'])
        # A mask smaller than a pixel gets the area of its box.
        obj['area'] = (mask and float(rle.area(mask))) or float(obj['bbox'][2] * obj['bbox'][3])
        repaired.append(obj)
    yield from problems.NO_AREA.cases(split, name_objects(repaired))


# --- boxes


def _is_box(box: object) -> bool:
    return (
        isinstance(box, (list, tuple))
        and len(box) == 4
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
    )


def _reach_out(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes (N, 4), [x, y, w, h], reach out of images of sizes (N, 2); (N,) bool."""
    ends = boxes[:, :2] + boxes[:, 2:]
    return ((boxes[:, :2] < -_TOLERANCE) | (ends > sizes + _TOLERANCE)).any(1)


def _are_corners(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Return whether boxes can only be [x1, y1, x2, y2]: then none reaches out of its image."""
    if _reach_out(boxes, sizes).mean() <= _MANY:
        return False
    converted = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    return bool((converted[:, 2:] > 0).all() and not _reach_out(converted, sizes).any())


def _set_boxes(objects: list[dict], boxes: np.ndarray) -> None:
    for obj, box in zip(objects, boxes):
        obj['bbox'] = box.tolist()
        if 'area' in obj and not obj.get('segmentation'):
            obj['area'] = float(box[2] * box[3])


def _with_box(objects: Iterable[dict]) -> list[str]:
    return [f'object {obj.get("id")} {[round(v, 1) for v in obj["bbox"]]}' for obj in objects]


# --- masks


def _is_polygon(polygon: object) -> bool:
    return (
        isinstance(polygon, (list, tuple))
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in polygon)
    )


def _is_valid_rle(segmentation: dict) -> bool:
    """Return whether a run-length encoding has a size, and runs that cover it."""
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        return False
    if isinstance(counts, list):
        return all(isinstance(n, int) and n >= 0 for n in counts) and sum(counts) == math.prod(size)
    return isinstance(counts, (str, bytes)) and bool(counts)


def _encoded(obj: dict, height: int, width: int) -> dict | None:
    """Return the mask of an object as compressed RLE, or None if there is none that is valid."""
    segmentation = obj.get('segmentation')
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if not _is_valid_rle(segmentation) or list(segmentation['size']) != [height, width]:
        return None
    return _compressed(segmentation)


def _compressed(segmentation: dict) -> dict:
    if isinstance(segmentation['counts'], list):
        return rle.frPyObjects(segmentation, *segmentation['size'])
    return segmentation


def _box_of_mask(obj: dict) -> list[float]:
    if isinstance(obj['segmentation'], dict):
        return [float(v) for v in rle.toBbox(_compressed(obj['segmentation']))]
    points = np.concatenate(obj['segmentation']).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


# --- both


def _images_by_id(coco: CocoAnnotations) -> dict[object, dict]:
    return {image['id']: image for image in coco.content['images']}


def _chosen(objects: list[dict], chosen: np.ndarray) -> list[dict]:
    return [obj for obj, is_chosen in zip(objects, chosen) if is_chosen]
