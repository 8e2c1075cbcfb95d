"""The content of a detection report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import plots
from convnext_mm.evaluation.report.confusions import Confusion, top_confusions
from convnext_mm.evaluation.report.detection_scores import (
    IOU,
    TIDE_ERRORS,
    DetectionScores,
    Matches,
    Sweep,
    f1,
)
from convnext_mm.evaluation.report.error_kinds import (
    DOUBTS,
    Doubt,
    Overlaps,
    doubtful_labels,
    error_kinds,
)
from convnext_mm.evaluation.report.evaluated_data import (
    DetectionData,
    Predictions,
    read_detection_data,
)
from convnext_mm.evaluation.report.gallery import MAX_IMAGES, DetectionImages, filters, gallery
from convnext_mm.evaluation.table import AP_COLUMNS, AR_COLUMNS, IOU_TYPES
from convnext_mm.messages.findings import Finding, Level, note
from convnext_mm.messages.wording import counted, percent

_DOUBTS = 30  # crops of each kind on the page
_ERROR_NAMES = {key: name for key, (name, _) in TIDE_ERRORS.items()}


def content(cfg: Config, predictions: Predictions, meta: dict, split: str, folder: Path) -> dict:
    """Return the variables of the template of a detection report.

    Args:
        cfg: The config that was tested.
        predictions: Predictions as ``tools/test.py --out`` writes them, or their file.
        meta: The classes of the data set.
        split: The evaluated split: ``test``, or ``val`` during a training.
        folder: The folder of the page, which may get a folder of images.

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
    overlaps = Overlaps.of(box)
    kinds = error_kinds(matches, overlaps)
    drawn = DetectionImages(data, matches, kinds, threshold)
    images = _images(data, matches, drawn, threshold, folder)
    doubts = doubtful_labels(box, overlaps, threshold) if len(sweep.thresholds) else []
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
        images=images,
        filters=filters(names, _ERROR_NAMES, threshold),
        limit=MAX_IMAGES,
        doubt_counts=Counter(doubt.kind for doubt in doubts),
        doubt_kinds=DOUBTS,
        doubt_images=_doubt_images(doubts, data, matches, drawn),
        doubts=[_doubt_row(doubt, data, matches) for doubt in doubts],
        record=dict(
            task='detection',
            objects=len(matches.objects),
            score_threshold=threshold if len(sweep.thresholds) else None,
            best_f1=float(sweep.f1[sweep.best]) if len(sweep.f1) else 0.0,
            metrics={kind: s.summary for kind, s in scores.items()},
            errors={kind: s.tide for kind, s in scores.items()},
            precision_at_iou_50=[
                round(float(value), 4) for value in np.nanmean(precision['box'][0], axis=1)
            ],
            classes=[_flat(row) for row in rows],
        ),
    )


def _flat(row: dict) -> dict:
    """Return a row of the table of classes for a JSON or CSV file; absent values are None."""
    ap = {
        f'{kind}_{name}': values[name]
        for kind, values in row['ap'].items()
        for name in ('mAP', 'mAP_50')
    }
    flat = {key: value for key, value in row.items() if key != 'ap'} | ap
    return {
        key: None if isinstance(value, float) and value < 0 else value
        for key, value in flat.items()
    }


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


def _images(
    data: DetectionData,
    matches: Matches,
    drawn: DetectionImages,
    threshold: float,
    folder: Path,
) -> list[dict]:
    """Return the data of the images, worst first; among equals, with most objects first."""
    ids = list(data.paths)
    counts = np.stack(matches.counts('image', ids, threshold), axis=1)
    scores = f1(*counts.T)
    scores = np.where(scores < 0, 1.0, scores)  # no objects, and nothing detected
    order = np.lexsort((-counts.sum(1), scores))
    captions = {
        ids[i]: 'F1 {}: {} correct, {} wrong, {} missed'.format(percent(scores[i]), *counts[i])
        for i in order
    }
    return gallery(
        {ids[i]: float(scores[i]) for i in order},
        lambda key, store, outlined: drawn.draw(key, captions[key], store, outlined),
        folder,
    )


def _doubt_images(
    doubts: Sequence[Doubt], data: DetectionData, matches: Matches, drawn: DetectionImages
) -> list[dict]:
    """Return the data of the crops of the strongest doubts of each kind, strongest first."""
    shown: Counter = Counter()
    crops = []
    for doubt in doubts:
        shown[doubt.kind] += 1
        if shown[doubt.kind] <= _DOUBTS:
            crops.append(drawn.crop(doubt, _describe(doubt, data, matches)))
    return [crop for crop in crops if crop]


def _describe(doubt: Doubt, data: DetectionData, matches: Matches) -> str:
    """Say in words what speaks against a label."""
    row = _doubt_row(doubt, data, matches)
    if doubt.kind == 'nothing there':
        return f'labelled {row["labelled"]}, nothing detected here'
    found = f'{row["detected"]} detected with {row["score"]:.2f}'
    if doubt.kind == 'missing label':
        return f'no label, {found}'
    return f'labelled {row["labelled"]}, {found}, IoU {row["iou"]:.2f}'


def _doubt_row(doubt: Doubt, data: DetectionData, matches: Matches) -> dict:
    """Return a row of the CSV of the doubtful labels."""
    row = dict(
        kind=doubt.kind,
        weight=round(doubt.weight, 4),
        image=data.api.imgs[doubt.image].get('file_name', ''),
        annotation_id=None,
        labelled=None,
        detected=None,
        score=None,
        iou=doubt.iou and round(doubt.iou, 4),
    )
    box = None
    if doubt.object is not None:
        entry = matches.objects[doubt.object]
        annotation = data.api.dataset['annotations'][entry.number - 1]
        box = annotation['bbox']
        row.update(annotation_id=annotation.get('id'), labelled=data.classes[entry.label])
    if doubt.detection is not None:
        found = data.classes[matches.labels[doubt.detection]]
        row.update(detected=found, score=round(float(matches.scores[doubt.detection]), 4))
        box = box or data.found.boxes[doubt.detection].tolist()
    return row | dict(zip(('x', 'y', 'width', 'height'), (round(float(v), 1) for v in box)))
