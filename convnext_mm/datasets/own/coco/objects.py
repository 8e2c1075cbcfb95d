"""Check the boxes, masks and areas of COCO annotations, and repair them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from pycocotools import mask as rle

from convnext_mm.datasets.own.coco import problems
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations, name_objects
from convnext_mm.datasets.own.coco.structure import polygons_in
from convnext_mm.datasets.rle import covers
from convnext_mm.messages.findings import Finding

# Pixels that a box may reach over the border: rounding, and coordinates that start at 1.
_TOLERANCE = 1.0
# If more of the boxes than this reach out of their images, the boxes cannot be [x, y, w, h] there.
_MANY = 0.2
# pycocotools needs 40 bytes for each pixel of an outline.
_LONGEST_OUTLINE = 2e6
# An area may differ from the area of the mask by this share, plus width and height of the box:
# the areas of polygons and of pixels differ, most for small objects.
_AREA_TOLERANCE = 0.5
_LARGEST_AREA = 1e12  # px
# Without a mask, the object may be thin and lie across its box.
_LEAST_OF_BOX = 0.01


def check_objects(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    """Check masks, boxes and areas, in this order: each is computed from the earlier ones.

    An object whose image has no known size is not checked, because there is an error already.
    """
    images = coco.images_by_id()
    yield from _check_polygons(split, coco)
    objects = coco.content['annotations']
    sides = [
        [images[obj['image_id']].get(side) or 0 for side in ('width', 'height')] for obj in objects
    ]
    sizes = np.array(sides, float).reshape(-1, 2)
    invalid, findings = _check_encodings(split, objects, sizes)
    yield from findings
    areas = _mask_areas(objects, sizes, invalid)
    yield from problems.NO_PIXELS.cases(split, name_objects(_chosen(objects, areas == 0)))
    known = (sizes > 0).all(1) & (areas != 0)
    coco.remove(_chosen(objects, areas == 0))
    objects, sizes, areas = _chosen(objects, known), sizes[known], areas[known]
    yield from _compute_boxes(split, objects, sizes, areas)
    boxed = np.array([obj.get('bbox') is not None for obj in objects], bool)
    objects, sizes, areas = _chosen(objects, boxed), sizes[boxed], areas[boxed]
    if objects:
        yield from _check_boxes(split, coco, objects, sizes, areas)


# --- masks


def _check_polygons(split: str, coco: CocoAnnotations) -> Iterator[Finding]:
    flat, some_invalid, only_invalid = [], [], []
    for obj in coco.content['annotations']:
        segmentation = obj.get('segmentation')
        if not isinstance(segmentation, list) or not segmentation:
            continue
        if not isinstance(segmentation[0], list):
            obj['segmentation'] = segmentation = [segmentation]
            flat.append(obj)
        polygons = [polygon for polygon in polygons_in(segmentation) if _is_short(polygon)]
        if len(polygons) < len(segmentation):
            (some_invalid if polygons else only_invalid).append(obj)
            obj['segmentation'] = polygons
    coco.remove(only_invalid)
    yield from problems.FLAT_POLYGONS.cases(split, name_objects(flat))
    yield from problems.SOME_INVALID_POLYGONS.cases(split, name_objects(some_invalid))
    yield from problems.ONLY_INVALID_POLYGONS.cases(split, name_objects(only_invalid))


def _is_short(polygon: list[float]) -> bool:
    """Return whether pycocotools can rasterise a polygon, whose outline may reach far outside."""
    # The extent bounds each edge, and is fast to compute.
    if len(polygon) * (max(polygon) - min(polygon)) < _LONGEST_OUTLINE:
        return True
    points = np.array(polygon).reshape(-1, 2)
    return np.abs(points - np.roll(points, 1, axis=0)).max(1).sum() < _LONGEST_OUTLINE


def _check_encodings(
    split: str, objects: list[dict], sizes: np.ndarray
) -> tuple[np.ndarray, list[Finding]]:
    """Return which run-length encodings are invalid or of another size than their image."""
    invalid, other_size = np.zeros(len(objects), bool), np.zeros(len(objects), bool)
    for i, obj in enumerate(objects):
        if isinstance(obj.get('segmentation'), dict):
            height, width = obj['segmentation']['size']
            invalid[i] = not covers(obj['segmentation']['counts'], height, width)
            other_size[i] = not invalid[i] and sizes[i].all() and (width, height) != (*sizes[i],)
    findings = [
        *problems.MASK_SIZE.cases(split, name_objects(_chosen(objects, other_size))),
        *problems.INVALID_RLE.cases(split, name_objects(_chosen(objects, invalid))),
    ]
    return invalid | other_size, findings


def _mask_areas(objects: list[dict], sizes: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """Return the pixels of each mask inside its image (N,); NaN without a valid mask."""
    areas = np.full(len(objects), np.nan)
    by_image = defaultdict(list)
    for i, obj in enumerate(objects):
        if obj.get('segmentation') and not invalid[i] and sizes[i].all():
            by_image[obj['image_id']].append(i)
    for chosen in by_image.values():
        width, height = map(int, sizes[chosen[0]])
        masks = [objects[i]['segmentation'] for i in chosen]
        areas[chosen] = rle.area(_encoded(masks, height, width))
    return areas


def _encoded(masks: list[list | dict], height: int, width: int) -> list[dict]:
    """Return masks of one image as compressed run-length encodings."""
    polygons = [polygon for mask in masks if isinstance(mask, list) for polygon in mask]
    parts = iter(rle.frPyObjects(polygons, height, width) if polygons else ())
    encoded = []
    for mask in masks:
        if isinstance(mask, list):
            own = [next(parts) for _ in mask]
            encoded.append(own[0] if len(own) == 1 else rle.merge(own))
        elif isinstance(mask['counts'], list):
            encoded.append(rle.frPyObjects(mask, height, width))
        else:
            encoded.append(mask)
    return encoded


# --- boxes


def _compute_boxes(
    split: str, objects: list[dict], sizes: np.ndarray, areas: np.ndarray
) -> Iterator[Finding]:
    """Compute missing boxes from masks."""
    computed, lacking = [], []
    for obj, size, area in zip(objects, sizes, areas):
        if obj.get('bbox') is None and not math.isnan(area):
            obj['bbox'] = _box_of_mask(obj['segmentation'], size)
            computed.append(obj)
        elif obj.get('bbox') is None and not obj.get('segmentation'):
            lacking.append(obj)
    yield from problems.NO_BOX.cases(split, name_objects(computed))
    yield from problems.NEITHER_BOX_NOR_MASK.cases(split, name_objects(lacking))


def _box_of_mask(segmentation: list | dict, size: np.ndarray) -> list[float]:
    """Return the part of the box that is inside an image of this size."""
    if isinstance(segmentation, dict):
        (mask,) = _encoded([segmentation], *segmentation['size'])
        return rle.toBbox(mask).tolist()
    points = np.concatenate(segmentation).reshape(-1, 2).clip(0, size)
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def _check_boxes(
    split: str, coco: CocoAnnotations, objects: list[dict], sizes: np.ndarray, areas: np.ndarray
) -> Iterator[Finding]:
    """Check that boxes are [x, y, width, height] in pixels, inside their images."""
    boxes = np.array([obj['bbox'] for obj in objects], float)
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
    yield from problems.ACROSS_BORDER.cases(split, _with_box(_chosen(objects, across)))
    low, high = np.clip(boxes[:, :2], 0, sizes), np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes)
    boxes[across] = np.hstack([low, high - low])[across]
    narrow = (boxes[:, 2:] < 1).any(1) & ~empty & ~outside
    yield from problems.NARROW_BOXES.cases(split, _with_box(_chosen(objects, narrow)))
    boxes[narrow] = _widened(boxes[narrow], sizes[narrow])
    _set_boxes(_chosen(objects, across | narrow), boxes[across | narrow])
    yield from problems.EMPTY_BOXES.cases(split, _with_box(_chosen(objects, empty)))
    coco.remove(_chosen(objects, empty))
    yield from _check_areas(split, _chosen(objects, ~empty), boxes[~empty], areas[~empty])


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


def _widened(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return boxes (N, 4) with sides of at least 1 px, the centres where the images allow it."""
    sides = np.maximum(boxes[:, 2:], 1)
    low = boxes[:, :2] + (boxes[:, 2:] - sides) / 2
    inside = low.clip(0, np.maximum(sizes - sides, 0))
    return np.hstack([np.where(sides > boxes[:, 2:], inside, low), sides])


def _set_boxes(objects: list[dict], boxes: np.ndarray) -> None:
    for obj, box in zip(objects, boxes):
        obj['bbox'] = box.tolist()
        if 'area' in obj and not obj.get('segmentation'):
            obj['area'] = float(box[2] * box[3])


def _with_box(objects: Iterable[dict]) -> list[str]:
    names = name_objects(objects)
    return [f'{n} {[round(v, 1) for v in obj["bbox"]]}' for n, obj in zip(names, objects)]


# --- areas


def _check_areas(
    split: str, objects: list[dict], boxes: np.ndarray, areas: np.ndarray
) -> Iterator[Finding]:
    """Compute areas that are missing, or do not fit the mask or else the box."""
    given = np.array([_number(obj.get('area')) for obj in objects])
    without_mask = np.isnan(areas)
    areas = np.where(without_mask, boxes[:, 2:].prod(1), areas)
    slack = _AREA_TOLERANCE * areas + boxes[:, 2:].sum(1)
    least = np.where(without_mask, _LEAST_OF_BOX * areas, areas - slack)
    missing = ~(given > 0)
    other = ~missing & ((given < least) | (given > areas + slack))
    examples = [
        f'{name} has {old:.4g}, not {new:,.0f}'
        for name, old, new in zip(name_objects(_chosen(objects, other)), given[other], areas[other])
    ]
    for obj, area in zip(_chosen(objects, missing | other), areas[missing | other].tolist()):
        obj['area'] = area
    yield from problems.NO_AREA.cases(split, name_objects(_chosen(objects, missing)))
    yield from problems.OTHER_AREA.cases(split, examples)


def _number(value: object) -> float:
    """Return a number of a JSON, or NaN if it is none or too large."""
    if type(value) not in (int, float) or not abs(value) < _LARGEST_AREA:
        return math.nan
    return float(value)


def _chosen(objects: list[dict], chosen: np.ndarray) -> list[dict]:
    return [obj for obj, is_chosen in zip(objects, chosen) if is_chosen]
