"""The content of a detection report."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import plots
from convnext_mm.evaluation.report.annotated_images import draw_detections, draw_worst_and_best
from convnext_mm.evaluation.report.confusions import Confusion, top_confusions
from convnext_mm.evaluation.report.detection_scores import (
    IOU,
    TIDE_ERRORS,
    DetectionScores,
    Sweep,
    f1,
)
from convnext_mm.evaluation.report.evaluated_data import (
    DetectionData,
    Predictions,
    read_detection_data,
)
from convnext_mm.evaluation.table import AP_COLUMNS, AR_COLUMNS, IOU_TYPES
from convnext_mm.messages.findings import Finding, Level, note
from convnext_mm.messages.wording import counted, percent

_IMAGES = 6  # the worst ones, and the best ones


def content(cfg: Config, predictions: Predictions, meta: dict, split: str) -> dict:
    """Return the variables of the template of a detection report.

    Args:
        cfg: The config that was tested.
        predictions: Predictions as ``tools/test.py --out`` writes them, or their file.
        meta: The classes of the data set.
        split: The evaluated split: ``test``, or ``val`` during a training.

    Raises:
        UserError: Predictions, config and ground truth do not belong together.
    """
    data = read_detection_data(cfg, predictions, meta['classes'], split)
    names = data.classes
    iou_types = {k: v for k, v in IOU_TYPES.items() if k == 'box' or data.has_masks}
    scores = {kind: DetectionScores(data, iou_type) for kind, iou_type in iou_types.items()}
    box = scores['box']
    matches = box.matches
    if not len(matches.objects):
        raise UserError('the annotation file has no object of these classes: nothing to report')
    sweep = matches.sweep()
    threshold = float(sweep.thresholds[sweep.best]) if len(sweep.thresholds) else 0.5
    matrix = box.confusion(threshold)
    confusions = top_confusions(matrix, names)
    precision = {kind: s.precision() for kind, s in scores.items()}
    tide = {kind: s.tide for kind, s in scores.items()}
    rows = _class_rows(data, scores, threshold)
    images = _images(data, box, threshold)
    if not len(sweep.thresholds):
        images['best'] = []
    return dict(
        task='detection',
        tested=len(data.found.tested),
        counts=[
            counted(len(matches.objects), 'object'),
            counted(int(matches.counted.sum()), 'detection'),
        ],
        metrics={kind: s.summary['mAP'] for kind, s in scores.items()},
        headlines=[
            *((f'{kind} AP', percent(s.summary['mAP'])) for kind, s in scores.items()),
            *((f'{kind} AP50', percent(s.summary['mAP_50'])) for kind, s in scores.items()),
            ('best F1', percent(sweep.f1[sweep.best]) if len(sweep.f1) else '0.0'),
        ],
        highlights=list(_highlights(sweep, scores, rows, confusions)),
        findings=list(_check_ground_truth(data, rows)),
        summary_columns=list((AP_COLUMNS | AR_COLUMNS).values()),
        summary={kind: list(s.summary.values()) for kind, s in scores.items()},
        rows=rows,
        kinds=list(scores),
        threshold=threshold,
        iou=IOU,
        precision_recall=plots.precision_recall(precision, box.recall_grid, box.iou_thresholds),
        class_curves=plots.class_curves(
            {kind: p[0] for kind, p in precision.items()}, box.recall_grid, names
        ),
        sweep=plots.score_threshold(sweep) if len(sweep.thresholds) else None,
        errors=TIDE_ERRORS,
        tide=tide,
        error_costs=plots.error_costs(tide),
        matrix=plots.confusion_matrix(matrix, [*names, 'background'], [*names, 'missed']),
        confusions=confusions,
        sizes=plots.object_sizes(matches, threshold),
        **images,
    )


def _class_rows(
    data: DetectionData, scores: dict[str, DetectionScores], threshold: float
) -> list[dict]:
    """Return the rows of the table of classes."""
    matches = scores['box'].matches
    correct, wrong, missed = matches.counts('label', range(len(data.classes)), threshold)
    rows = []
    for label, name in enumerate(data.classes):
        detections, objects = correct[label] + wrong[label], correct[label] + missed[label]
        rows.append(
            dict(
                name=name,
                objects=int(objects),
                images=len(set(matches.objects.image[matches.objects.label == label])),
                ap={kind: s.ap_by_class[label] for kind, s in scores.items()},
                precision=correct[label] / detections if detections else -1.0,
                recall=correct[label] / objects if objects else -1.0,
                f1=float(f1(correct[label], wrong[label], missed[label])),
            )
        )
    return rows


def _check_ground_truth(data: DetectionData, rows: list[dict]) -> Iterator[Finding]:
    number = len(data.api.imgs.keys() - data.paths.keys())
    if number:
        yield note(
            'test',
            f'{number:,} of the {len(data.api.imgs):,} images in the annotation file were not '
            'tested. Their objects count as missed.',
        )
    empty = tuple(row['name'] for row in rows if not row['objects'])
    if empty:
        yield Finding(Level.NOTE, 'ground truth', 'Classes without objects have no AP', empty)


def _highlights(
    sweep: Sweep,
    scores: dict[str, DetectionScores],
    rows: list[dict],
    confusions: list[Confusion],
) -> Iterator[str]:
    """Write the main results as sentences."""
    objects = counted(len(scores['box'].matches.objects), 'object')
    if not len(sweep.thresholds):
        yield f'The model detected nothing. The ground truth has {objects}.'
        return
    best = sweep.best
    yield (
        f'F1 is best at a score threshold of {sweep.thresholds[best]:.2f}. At this threshold the '
        f'model finds {percent(sweep.recall[best])}% of {objects}, and '
        f'{percent(sweep.precision[best])}% of its detections are correct.'
    )
    costs = {TIDE_ERRORS[key][0]: error['cost'] for key, error in scores['box'].tide.items()}
    first, second = sorted(costs, key=costs.get, reverse=True)[:2]
    if costs[first] > 0:
        yield (
            f'The most costly type of error is "{first}". Fixing all of them would add '
            f'{percent(costs[first])} box AP50. The next type, "{second}", costs '
            f'{percent(costs[second])}.'
        )
    ranked = sorted((r for r in rows if r['objects']), key=lambda r: r['ap']['box']['mAP'])
    if len(ranked) > 2:
        lowest, highest = (
            f'{percent(r["ap"]["box"]["mAP"])} ({r["name"]}, {counted(r["objects"], "object")})'
            for r in (ranked[0], ranked[-1])
        )
        yield f'Box AP by class ranges from {lowest} to {highest}.'
    if confusions and confusions[0].count > 1:
        top = confusions[0]
        yield (
            f'The most frequent confusion: {top.truth} is predicted as {top.predicted} '
            f'{top.count:,} times, {percent(top.share)}% of its objects.'
        )


def _images(data: DetectionData, box: DetectionScores, threshold: float) -> dict:
    ids = list(data.paths)
    correct, wrong, missed = box.matches.counts('image', ids, threshold)
    scores = dict(zip(ids, f1(correct, wrong, missed)))
    captions = {
        i: f'F1 {percent(scores[i])}: {counts[0]} correct, {counts[1]} wrong, {counts[2]} missed'
        for i, *counts in zip(ids, correct, wrong, missed)
    }
    return draw_worst_and_best(
        {i: value for i, value in scores.items() if value >= 0},
        dict(zip(ids, correct + wrong + missed)),
        _IMAGES,
        lambda i: draw_detections(data, box.matches, i, threshold, captions[i]),
    )
