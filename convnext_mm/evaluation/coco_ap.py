"""COCO's AP and AR, computed by a compiled evaluator.

The values are the same as from pycocotools, in a fraction of the time.
`hotcoco <https://github.com/derekallman/hotcoco>`_ (Rust, MIT) matches the detections. Its results
equal those of pycocotools to the last bit, with one exception: pycocotools counts an annotation
with id 0 as unmatched, which lowers the AP of a perfect detector.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hotcoco
import numpy as np
from pycocotools.coco import COCO

from convnext_mm.errors import UserError
from convnext_mm.evaluation.detections import Detections

_AREA_SUFFIXES = ('', '_s', '_m', '_l')  # COCO's area ranges in MMDetection's names
# The errors that pycocotools raises for files with other content.
_NO_ANNOTATIONS = (
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)
_AP_DETECTIONS = 100  # COCO computes AP from the 100 highest scores of an image


@dataclass(frozen=True)
class GroundTruth:
    """Annotations in the form of the evaluator.

    The evaluator knows 64-bit integers, and detections pass through float64. So images are
    numbered from 1, in the order of their ids, and an id may be any integer or text.

    Attributes:
        coco: The annotations; annotations are numbered from 1 too, categories by their labels.
        numbers: The number of each image by its id in the annotation file.
    """

    coco: hotcoco.COCO
    numbers: dict[Hashable, int]


def read_annotations(path: str | Path, sort_categories: bool = False) -> COCO:
    """Read an annotation file, without the lines that pycocotools prints.

    Args:
        path: A COCO JSON.
        sort_categories: As in MMDetection's CocoMetric: whether the labels have the order of the
            category ids instead of the order of the file.

    Raises:
        UserError: There is no such file, or it is no COCO JSON.
    """
    path = Path(path)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            api = COCO(path)
        if sort_categories:
            api.dataset['categories'].sort(key=lambda category: category['id'])
        return api
    except FileNotFoundError:
        raise UserError(f'{path}: no such file') from None
    except OSError as error:
        raise UserError(f'{path}: {error.strerror}') from error
    except _NO_ANNOTATIONS as error:
        raise UserError(f'{path} has no COCO annotations: {error}') from error


def category_ids(coco: COCO, classes: Sequence[str]) -> list[int]:
    """Return the category ids of the labels 0, 1, ... of CocoDataset.

    Raises:
        UserError: The annotation file does not have exactly one category for each class.
    """
    found = coco.getCatIds(catNms=list(classes))
    if len(found) != len(classes):
        there = {category['name'] for category in coco.cats.values()}
        raise UserError(
            f'the annotation file has {len(found)} categories for the {len(classes)} classes in '
            f'the metainfo of the data set; classes without a category: '
            f'{", ".join(set(classes) - there) or "none"}'
        )
    return found


def ground_truth(coco: COCO, cat_ids: Sequence[int], masks: bool = False) -> GroundTruth:
    """Convert annotations for the evaluator; annotations of unknown images are left out.

    Args:
        coco: Annotations in COCO format. ``iscrowd`` may be missing, and ``area`` too; then the
            area of the box is used.
        cat_ids: Category ids in the order of the labels. Other categories are left out.
        masks: Whether to include the masks.

    Raises:
        UserError: `masks` is set and an annotation has no mask.
    """
    labels = {cat_id: label for label, cat_id in enumerate(cat_ids)}
    # The orders of pycocotools, which decide between equal scores: images by id, annotations as in
    # the file.
    ids = sorted(coco.imgs, key=lambda image_id: (isinstance(image_id, str), image_id))
    numbers = {image_id: number for number, image_id in enumerate(ids, 1)}
    annotations = [
        dict(
            id=number,
            image_id=numbers[ann['image_id']],
            category_id=labels[ann['category_id']],
            bbox=ann['bbox'],
            area=ann.get('area', ann['bbox'][2] * ann['bbox'][3]),
            iscrowd=int(ann.get('iscrowd') or 0),
        )
        for number, ann in enumerate(coco.dataset.get('annotations', ()), 1)
        if ann['category_id'] in labels and ann['image_id'] in numbers
    ]
    if masks:
        for annotation in annotations:
            original = coco.dataset['annotations'][annotation['id'] - 1]
            segmentation = original.get('segmentation')
            if not segmentation:
                raise UserError(
                    f'image {original["image_id"]} has an annotation without a mask, but mask '
                    "AP needs a mask for each; for box AP only, set metric='bbox' in the evaluator"
                )
            annotation['segmentation'] = segmentation
    converted = hotcoco.COCO(
        dict(
            images=[
                dict(
                    id=number,
                    width=int(coco.imgs[image_id]['width']),
                    height=int(coco.imgs[image_id]['height']),
                    file_name='',
                )
                for image_id, number in numbers.items()
            ],
            categories=[
                dict(id=label, name=category['name'])
                for label, category in enumerate(coco.loadCats(list(cat_ids)))
            ],
            annotations=annotations,
        )
    )
    return GroundTruth(converted, numbers)


def detections(truth: GroundTruth, found: Detections, masks: bool) -> hotcoco.COCO:
    """Convert detections for the evaluator; they are numbered from 1, in their order.

    Args:
        truth: The result of :func:`ground_truth`.
        found: The detections.
        masks: Whether to evaluate masks, with their own areas and scores.

    Raises:
        UserError: An image is not in the ground truth, or `masks` is set and there are none.
    """
    unknown = [image_id for image_id in found.tested if image_id not in truth.numbers]
    if unknown:
        raise UserError(
            f'image {unknown[0]} is not in the annotation file: check that the dataloader and '
            "the evaluator's ann_file belong to the same data set"
        )
    if masks and found.masks is None:
        raise UserError("the model predicts no masks: set metric='bbox' in the evaluator")
    own_scores = masks and found.mask_scores is not None
    scores = found.mask_scores if own_scores else found.scores
    numbers = [truth.numbers[image_id] for image_id in found.images]
    table = np.column_stack([numbers, found.boxes, scores, found.labels]).astype(float)
    if not masks or not len(table):
        return truth.coco.load_res(table)
    loaded = truth.coco.load_res(table, segmentation=found.masks)
    loaded.update_anns(ids=np.arange(1, len(table) + 1), area=hotcoco.mask.area(found.masks))
    return loaded


def evaluate(
    truth: GroundTruth,
    found: Detections,
    iou_type: str,
    iou_thrs: Sequence[float] | None = None,
    max_dets: Sequence[int] = (1, 10, 100),
    use_classes: bool = True,
) -> hotcoco.COCOeval:
    """Match detections with ground truth and compute precision and recall.

    Args:
        truth: The result of :func:`ground_truth`.
        found: The detections.
        iou_type: ``bbox`` or ``segm``.
        iou_thrs: IoU thresholds; 0.50 to 0.95 in steps of 0.05 by default.
        max_dets: Limits on the number of detections per image; the highest scores are kept.
        use_classes: If False, a detection may match an object of any class, as for proposals.
    """
    loaded = detections(truth, found, masks=iou_type == 'segm')
    evaluated = hotcoco.COCOeval(truth.coco, loaded, iou_type)
    if iou_thrs is not None:
        evaluated.params.iou_thrs = np.atleast_1d(iou_thrs).tolist()
    evaluated.params.max_dets = sorted(max_dets)
    evaluated.params.use_cats = use_classes
    evaluated.evaluate()
    evaluated.accumulate()
    return evaluated


def summary(evaluated: hotcoco.COCOeval) -> dict[str, float]:
    """Return COCO's twelve metrics by MMDetection's names; -1 where there is no such object.

    ``mAP`` uses the 100 highest scores of an image, or the largest number evaluated if 100 is not
    among ``max_dets``. The other precisions, and recall by area, use the largest number.
    """
    recall, counts = evaluated.eval['recall'], list(evaluated.params.max_dets)
    limit = counts.index(_AP_DETECTIONS) if _AP_DETECTIONS in counts else -1
    metrics = dict(_precisions(evaluated, slice(None), limit))
    metrics |= {f'AR@{n}': _mean(recall[:, :, 0, i]) for i, n in enumerate(counts)}
    for area, suffix in enumerate(_AREA_SUFFIXES[1:], 1):
        metrics[f'AR{suffix}@{counts[-1]}'] = _mean(recall[:, :, area, -1])
    return metrics


def metric_names(max_dets: Sequence[int]) -> list[str]:
    """Return the names of :func:`summary`."""
    areas, counts = _AREA_SUFFIXES[1:], sorted(max_dets)
    return [
        *('mAP', 'mAP_50', 'mAP_75', *(f'mAP{suffix}' for suffix in areas)),
        *(f'AR@{n}' for n in counts),
        *(f'AR{suffix}@{counts[-1]}' for suffix in areas),
    ]


def ap_by_class(evaluated: hotcoco.COCOeval) -> list[dict[str, float]]:
    """Return the six precisions of :func:`summary` for each label."""
    labels = range(evaluated.eval['precision'].shape[2])
    return [dict(_precisions(evaluated, label, -1)) for label in labels]


def _precisions(
    evaluated: hotcoco.COCOeval, label: int | slice, map_limit: int
) -> Iterator[tuple[str, float]]:
    # Axes: IoU threshold, recall, class unless there is one label, area, max_dets.
    precision = evaluated.eval['precision'][:, :, label]
    thresholds = np.asarray(evaluated.params.iou_thrs)
    yield 'mAP', _mean(precision[..., 0, map_limit])
    for threshold in (0.5, 0.75):
        yield f'mAP_{threshold * 100:.0f}', _mean(precision[thresholds == threshold][..., 0, -1])
    for area, suffix in enumerate(_AREA_SUFFIXES[1:], 1):
        yield f'mAP{suffix}', _mean(precision[..., area, -1])


def _mean(values: np.ndarray) -> float:
    """Return the mean without -1, which marks classes without objects; -1 if nothing is left."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0
