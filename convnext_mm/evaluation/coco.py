"""COCO's AP and AR on a compiled evaluator: the numbers of pycocotools, in a fraction of the time.

`hotcoco <https://github.com/derekallman/hotcoco>`_ (Rust, MIT) does the matching. It is exact to
the last bit where pycocotools is right, and right where that is not: an annotation with the id 0
counts there as unmatched, which costs a perfect detector some AP.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import hotcoco
import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from terminaltables import AsciiTable

from convnext_mm.errors import SettingError, UserError

# Of COCO's area ranges, all, small, medium and large, in MMDetection's names.
_SUFFIXES = ('', '_s', '_m', '_l')
_BEST_PER_IMAGE = 100  # what COCO calls AP is of the 100 highest scores of an image


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """MMDetection's CocoMetric on a compiled evaluator: same arguments, same names in the log.

    What differs: nothing is written to disk unless ``outfile_prefix`` asks for it; with
    ``classwise`` a class's AP is logged as ``bbox_<class>_precision``, so that boxes and masks do
    not overwrite each other; without any detection AP is 0 and not missing; annotation ids may
    start at 0. ``use_mp_eval`` has nothing left to do.

    Raises:
        SettingError: The metric is ``proposal_fast``, which needs a numpy older than 1.24.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if 'proposal_fast' in self.metrics:
            raise SettingError("metric='proposal_fast': use 'proposal', which is fast here")

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Score what all processes collected.

        Args:
            results: For each image its ground truth, if it was not in ``ann_file``, and its
                prediction, as :meth:`process` made them.

        Raises:
            UserError: An image or a class is not in the annotation file, or masks are asked for and
            not there.
        """
        logger = MMLogger.get_current_instance()
        truths, predictions = zip(*results)
        self._read_ground_truth(truths)
        if self.outfile_prefix is not None:
            self.results2json(predictions, self.outfile_prefix)
        if self.format_only:
            logger.info(f'results are saved in {Path(self.outfile_prefix).parent}')
            return {}
        metrics = {}
        for metric in self.metrics:
            logger.info(f'Evaluating {metric}...')
            evaluated = evaluate(
                ground_truth(self._coco_api, self.cat_ids, masks=metric == 'segm'),
                predictions,
                'bbox' if metric == 'proposal' else metric,
                iou_thrs=self.iou_thrs,
                max_dets=self.proposal_nums,
                use_classes=metric != 'proposal',
            )
            metrics |= self._named(metric, evaluated, logger)
        return metrics

    def _read_ground_truth(self, truths: Sequence[dict]) -> None:
        if self._coco_api is None:
            with tempfile.TemporaryDirectory() as folder:
                self._coco_api = COCO(self.gt_to_coco_json(truths, f'{folder}/results'))
        if self.cat_ids is None:
            self.cat_ids = category_ids(self._coco_api, self.dataset_meta['classes'])

    def _named(
        self, metric: str, evaluated: hotcoco.COCOeval, logger: MMLogger
    ) -> dict[str, float]:
        """The metrics asked for by their names in the log, rounded as MMDetection does it."""
        known = summary(evaluated)
        figures = ', '.join(f'{name} {value:.3f}' for name, value in known.items())
        logger.info(f'{metric}: {figures}')
        if metric == 'proposal':
            wanted = self.metric_items or [name for name in known if name.startswith('AR')]
            return {name: _rounded(known, name) for name in wanted}
        wanted = self.metric_items or [name for name in known if name.startswith('mAP')]
        metrics = {f'{metric}_{name}': _rounded(known, name) for name in wanted}
        ap = ' '.join(f'{value:.3f}' for name, value in known.items() if name.startswith('mAP'))
        logger.info(f'{metric}_mAP_copypaste: {ap}')
        if self.classwise:
            names = [category['name'] for category in self._coco_api.loadCats(self.cat_ids)]
            rows = dict(zip(names, class_ap(evaluated)))
            table = [[name, *(f'{v:.3f}' for v in row.values())] for name, row in rows.items()]
            header = ['category', *next(iter(rows.values()))]
            logger.info('\n' + AsciiTable([header, *table]).table)
            metrics |= {
                f'{metric}_{name}_precision': _rounded(row, 'mAP') for name, row in rows.items()
            }
        return metrics


def category_ids(coco: COCO, classes: Sequence[str]) -> list[int]:
    """The category ids that the labels 0, 1, ... of CocoDataset stand for.

    Raises:
        UserError: The annotation file does not have exactly one category for each class.
    """
    found = coco.getCatIds(catNms=list(classes))
    if len(found) != len(classes):
        there = {category['name'] for category in coco.cats.values()}
        raise UserError(
            f'the annotation file has {len(found)} categories for the {len(classes)} classes of '
            f"the data set's metainfo; without one: {', '.join(set(classes) - there) or 'none'}"
        )
    return found


def ground_truth(coco: COCO, cat_ids: Sequence[int], masks: bool = False) -> hotcoco.COCO:
    """The annotations of some categories, with the categories numbered as the model's labels.

    Args:
        coco: Annotations in COCO format; ``iscrowd`` may be missing, and so may ``area``, which
            then is the box's.
        cat_ids: Category ids in the order of the labels.
        masks: Whether masks are needed.

    Raises:
        UserError: Masks are needed and an annotation has none.
    """
    labels = {cat_id: label for label, cat_id in enumerate(cat_ids)}
    # In the order of pycocotools: scores that tie rank as they stand in the file.
    annotations = [
        dict(
            id=number,
            image_id=ann['image_id'],
            category_id=labels[ann['category_id']],
            bbox=ann['bbox'],
            area=ann.get('area', ann['bbox'][2] * ann['bbox'][3]),
            iscrowd=ann.get('iscrowd', 0),
        )
        for number, ann in enumerate(coco.dataset.get('annotations', ()), 1)
        if ann['category_id'] in labels
    ]
    if masks:
        for annotation in annotations:
            segmentation = coco.dataset['annotations'][annotation['id'] - 1].get('segmentation')
            if not segmentation:
                raise UserError(
                    f'image {annotation["image_id"]} has an annotation without a mask: mask AP '
                    "needs all of them; for box AP alone set the evaluator's metric='bbox'"
                )
            annotation['segmentation'] = segmentation
    return hotcoco.COCO(
        dict(
            images=[
                dict(id=i, width=image['width'], height=image['height'], file_name='')
                for i, image in coco.imgs.items()
            ],
            categories=[
                dict(id=label, name=category['name'])
                for label, category in enumerate(coco.loadCats(list(cat_ids)))
            ],
            annotations=annotations,
        )
    )


def detections(truth: hotcoco.COCO, predictions: Sequence[dict], masks: bool) -> hotcoco.COCO:
    """Predictions as the evaluator takes them; numbered from 1 on, image by image.

    Args:
        truth: Of :func:`ground_truth`.
        predictions: For each image ``img_id`` and, as arrays, ``bboxes`` (n, 4) as x1, y1, x2, y2
            in px, ``scores`` (n,), ``labels`` (n,), and where there are any, ``masks`` as n RLEs
            and ``mask_scores`` (n,).
        masks: Whether masks are scored, by their own area and ``mask_scores``.

    Raises:
        UserError: An image is not in the ground truth, or there are no masks.
    """
    unknown = {p['img_id'] for p in predictions} - set(truth.get_img_ids())
    if unknown:
        raise UserError(
            f'image {min(unknown)} is not in the annotation file: do test_dataloader and '
            "test_evaluator's ann_file belong together?"
        )
    if masks and any('masks' not in p for p in predictions):
        raise UserError("the model predicts no masks: set the evaluator's metric='bbox'")
    scores = 'mask_scores' if masks and 'mask_scores' in predictions[0] else 'scores'
    images = [np.full(len(p['labels']), p['img_id']) for p in predictions]
    # In double precision before the subtraction, as by way of JSON.
    x1, y1, x2, y2 = np.concatenate([p['bboxes'] for p in predictions]).astype(float).T
    table = np.column_stack(
        [
            *(np.concatenate(images), x1, y1, x2 - x1, y2 - y1),
            *(np.concatenate([p[key] for p in predictions]) for key in (scores, 'labels')),
        ]
    )
    if not masks or not len(table):
        return truth.load_res(table)
    rles = list(itertools.chain.from_iterable(p['masks'] for p in predictions))
    loaded = truth.load_res(table, segmentation=rles)
    loaded.update_anns(ids=np.arange(1, len(rles) + 1), area=hotcoco.mask.area(rles))
    return loaded


def evaluate(
    truth: hotcoco.COCO,
    predictions: Sequence[dict],
    iou_type: str,
    iou_thrs: Sequence[float] | None = None,
    max_dets: Sequence[int] = (1, 10, 100),
    use_classes: bool = True,
) -> hotcoco.COCOeval:
    """Match predictions with ground truth.

    Args:
        truth: Of :func:`ground_truth`.
        predictions: See :func:`detections`.
        iou_type: ``bbox`` or ``segm``.
        iou_thrs: IoU thresholds; 0.50 to 0.95 in steps of 0.05 by default.
        max_dets: Numbers of detections an image, of the highest scores.
        use_classes: Otherwise a detection of any class may match, as for proposals.
    """
    found = detections(truth, predictions, masks=iou_type == 'segm')
    evaluated = hotcoco.COCOeval(truth, found, iou_type)
    if iou_thrs is not None:
        evaluated.params.iou_thrs = np.atleast_1d(iou_thrs).tolist()
    evaluated.params.max_dets = sorted(max_dets)
    evaluated.params.use_cats = use_classes
    evaluated.evaluate()
    evaluated.accumulate()
    return evaluated


def summary(evaluated: hotcoco.COCOeval) -> dict[str, float]:
    """COCO's twelve figures by MMDetection's names; -1 where the ground truth has no object.

    ``mAP`` is of the 100 best detections of an image, or of as many as there are; the other
    precisions and the recalls by area are of the largest number.
    """
    recall, counts = evaluated.eval['recall'], list(evaluated.params.max_dets)
    hundred = counts.index(_BEST_PER_IMAGE) if _BEST_PER_IMAGE in counts else -1
    figures = dict(_precisions(evaluated, slice(None), hundred))
    figures |= {f'AR@{n}': _mean(recall[:, :, 0, i]) for i, n in enumerate(counts)}
    for area, suffix in enumerate(_SUFFIXES[1:], 1):
        figures[f'AR{suffix}@{counts[-1]}'] = _mean(recall[:, :, area, -1])
    return figures


def class_ap(evaluated: hotcoco.COCOeval) -> list[dict[str, float]]:
    """For each label the six precisions of :func:`summary`."""
    labels = range(evaluated.eval['precision'].shape[2])
    return [dict(_precisions(evaluated, label, -1)) for label in labels]


def _precisions(
    evaluated: hotcoco.COCOeval, label: int | slice, of_map: int
) -> Iterator[tuple[str, float]]:
    precision = evaluated.eval['precision'][:, :, label]  # IoU, recall, (class,) area, number
    thresholds = np.asarray(evaluated.params.iou_thrs)
    yield 'mAP', _mean(precision[..., 0, of_map])
    for threshold in (0.5, 0.75):
        yield f'mAP_{threshold * 100:.0f}', _mean(precision[thresholds == threshold][..., 0, -1])
    for area, suffix in enumerate(_SUFFIXES[1:], 1):
        yield f'mAP{suffix}', _mean(precision[..., area, -1])


def _mean(values: np.ndarray) -> float:
    """Mean of what exists; the evaluator marks a class without ground truth by -1."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _rounded(figures: dict[str, float], name: str) -> float:
    if name not in figures:
        raise KeyError(f'metric_items: {name!r} is none of {", ".join(figures)}')
    return round(figures[name], 3)
