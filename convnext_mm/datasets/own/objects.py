"""The boxes and masks of COCO annotations: what is wrong with them, and its repair.

What counts as an error and what is repaired, :mod:`convnext_mm.datasets.own.check_coco` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from pycocotools import mask as rle

from convnext_mm.messages.problems import ERROR, REPAIRED

# Pixels that a box may reach over its image's border: rounding, and counting from 1.
_SLACK = 1.0
# Of all boxes: so many leaving their images say that these are no x, y, w, h of these images.
_TOO_MANY = 0.2

# Takes up a problem: level, what, examples, remedy; returns whether there is one.
Add = Callable[..., bool]


def repair_shapes(content: dict, add: Add) -> None:
    """Masks that can be rasterised, and a box for every object."""
    images = {image['id']: image for image in content['images']}
    flat, short, hopeless, unreadable, sized, boxless = [], [], [], [], [], []
    for obj in content['annotations']:
        segmentation, image = obj.get('segmentation'), images[obj['image_id']]
        usable = bool(segmentation)
        if isinstance(segmentation, list) and segmentation:
            if not isinstance(segmentation[0], list):
                segmentation = [segmentation]
                flat.append(obj)
            polygons = [polygon for polygon in segmentation if _is_polygon(polygon)]
            usable = bool(polygons)
            if len(polygons) < len(segmentation):
                (short if usable else hopeless).append(obj)
            obj['segmentation'] = polygons
        elif isinstance(segmentation, dict):
            size = image.get('height'), image.get('width')
            usable = _readable(segmentation)
            if not usable:
                unreadable.append(obj)
            elif list(segmentation['size']) != list(size) and None not in size:
                sized.append(obj)
        if 'bbox' not in obj and usable:
            obj['bbox'] = _mask_box(obj)
            boxless.append(obj)
    add(REPAIRED, 'polygons that are no list of lists', named(flat), 'made one')
    broken = 'broken polygon, such as of 2 points'
    add(REPAIRED, f'objects with a {broken}', named(short), 'without it')
    add(REPAIRED, f'objects that are a {broken}', named(hopeless), 'left out')
    add(ERROR, 'masks of another size than their images', named(sized), 'a mask covers its image')
    add(ERROR, 'masks that are no run lengths', named(unreadable), 'write them again')
    add(REPAIRED, 'objects without a box', named(boxless), 'taken from their masks')
    leave_out(content, hopeless)


def check_boxes(content: dict, add: Add) -> None:
    """Boxes that are x, y, width and height in pixels and lie in their images."""
    images = {image['id']: image for image in content['images']}
    strange = [obj for obj in content['annotations'] if not _is_box(obj.get('bbox'))]
    if add(ERROR, 'boxes that are not four numbers', named(strange), 'x, y, width, height'):
        return
    objects = [
        obj for obj in content['annotations'] if images[obj['image_id']].get('width') is not None
    ]
    if not objects:
        return
    boxes = np.array([obj['bbox'] for obj in objects], float)
    sizes = np.array(
        [[images[obj['image_id']][side] for side in ('width', 'height')] for obj in objects], float
    )
    if boxes.max() <= 1 and sizes.min() > 2:
        add(ERROR, 'boxes in fractions of the image', _boxed(objects), 'COCO has pixels')
        return
    if _are_corners(boxes, sizes):
        add(REPAIRED, 'boxes stored as x1, y1, x2, y2', _boxed(objects), 'made x, y, w, h')
        boxes[:, 2:] -= boxes[:, :2]
        _set_boxes(objects, boxes)
    far = _leaves(boxes, sizes)
    outside = ((boxes[:, :2] >= sizes) | (boxes[:, :2] + boxes[:, 2:] <= 0)).any(1)
    flat = (boxes[:, 2:] <= 0).any(1)
    if far.mean() > _TOO_MANY:
        examples = _boxed(obj for obj, is_far in zip(objects, far) if is_far)
        add(ERROR, 'boxes that reach out of their images', examples, 'are they of these images?')
        return
    examples = _boxed(obj for obj, is_out in zip(objects, outside & ~flat) if is_out)
    add(ERROR, 'boxes outside of their images', examples, 'correct or remove them')
    cut = far & ~outside & ~flat
    clipped = [obj for obj, is_cut in zip(objects, cut) if is_cut]
    add(REPAIRED, 'boxes across the border of their images', _boxed(clipped), 'cut off there')
    low, high = np.clip(boxes[:, :2], 0, sizes), np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes)
    _set_boxes(clipped, np.hstack([low, high - low])[cut])
    empty = [obj for obj, is_flat in zip(objects, flat) if is_flat]
    add(REPAIRED, 'boxes without width or height', _boxed(empty), 'their objects are left out')
    leave_out(content, empty)


def _leaves(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) as x, y, w, h reach out of images of these sizes (N, 2); (N,) bool."""
    return ((boxes[:, :2] < -_SLACK) | (boxes[:, :2] + boxes[:, 2:] > sizes + _SLACK)).any(1)


def _are_corners(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether boxes can only be x1, y1, x2, y2."""
    if _leaves(boxes, sizes).mean() <= _TOO_MANY:
        return False
    corners = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    return bool((corners[:, 2:] > 0).all() and not _leaves(corners, sizes).any())


def repair_areas(content: dict, add: Add) -> None:
    """An area above 0 for every object."""
    images = {image['id']: image for image in content['images']}
    without = []
    for obj in content['annotations']:
        area = obj.get('area')
        if isinstance(area, (int, float)) and area > 0:
            continue
        image = images[obj['image_id']]
        if not _is_box(obj.get('bbox')) or image.get('width') is None:
            continue  # an error, told above
        without.append(obj)
        runs = _runs(obj, image['height'], image['width'])
        # A mask of less than a pixel has the area of its box.
        obj['area'] = (runs and float(rle.area(runs))) or float(obj['bbox'][2] * obj['bbox'][3])
    add(
        *(REPAIRED, 'objects without an area, or one of 0', named(without)),
        'computed from their masks or boxes; MMDetection leaves objects without one out',
    )


def _runs(obj: dict, height: int, width: int) -> dict | None:
    """An object's mask as compressed run lengths."""
    segmentation = obj.get('segmentation')
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if not _readable(segmentation) or list(segmentation['size']) != [height, width]:
        return None
    return _compressed(segmentation)


def _compressed(segmentation: dict) -> dict:
    if isinstance(segmentation['counts'], list):
        return rle.frPyObjects(segmentation, *segmentation['size'])
    return segmentation


def _readable(segmentation: dict) -> bool:
    """Whether run lengths cover their mask."""
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        return False
    if isinstance(counts, list):
        return all(isinstance(n, int) and n >= 0 for n in counts) and sum(counts) == math.prod(size)
    return isinstance(counts, (str, bytes)) and bool(counts)


def _mask_box(obj: dict) -> list[float]:
    if isinstance(obj['segmentation'], dict):
        return [float(v) for v in rle.toBbox(_compressed(obj['segmentation']))]
    points = np.concatenate(obj['segmentation']).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def _is_polygon(polygon: object) -> bool:
    return (
        isinstance(polygon, (list, tuple))
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in polygon)
    )


def _is_box(box: object) -> bool:
    return (
        isinstance(box, (list, tuple))
        and len(box) == 4
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
    )


def _set_boxes(objects: list[dict], boxes: np.ndarray) -> None:
    for obj, box in zip(objects, boxes):
        obj['bbox'] = box.tolist()
        if 'area' in obj and not obj.get('segmentation'):
            obj['area'] = float(box[2] * box[3])


def named(objects: Iterable[dict]) -> list[str]:
    """Objects as a user is told of them."""
    return [f'object {obj.get("id")}' for obj in objects]


def leave_out(content: dict, objects: list[dict]) -> None:
    """Remove objects, these very ones, from COCO annotations in memory."""
    out = set(map(id, objects))
    if out:
        content['annotations'] = [obj for obj in content['annotations'] if id(obj) not in out]


def _boxed(objects: Iterable[dict]) -> list[str]:
    return [f'object {obj["id"]} {[round(v, 1) for v in obj["bbox"]]}' for obj in objects]
