"""What the report of a detector shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.config import Config

from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import about, figures, pictures, results
from convnext_mm.evaluation.report.detection import IOU, TIDE_ERRORS, Inputs, Scores, Sweep, f1
from convnext_mm.evaluation.report.segmentation import top_confusions
from convnext_mm.messages.wording import counted, percent

_PICTURES = 6  # of the worst and of the best


def content(cfg: Config, found: Sequence[dict], split: str) -> dict:
    """What the template of a detection report shows, by its names there.

    Args:
        cfg: The config that was tested.
        found: What ``tools/test.py --out`` writes.
        split: What was evaluated, ``test`` or, in training, ``val``.

    Raises:
        UserError: Results, config and ground truth do not belong together.
    """
    inputs = results.detection_inputs(cfg, found, split)
    kinds = {'box': 'bbox', 'mask': 'segm'} if inputs.has_masks else {'box': 'bbox'}
    scores = {kind: Scores(inputs, iou_type) for kind, iou_type in kinds.items()}
    box = scores['box']
    matches = box.matches
    if not len(matches.objects):
        raise UserError('the annotation file has no object of these classes: nothing to report')
    sweep = matches.sweep()
    threshold = float(sweep.thresholds[sweep.best]) if len(sweep.thresholds) else 0.5
    matrix = box.confusion(threshold)
    names = inputs.classes
    confusions = [
        (names[r], names[c], count, share)
        for r, c, count, share in top_confusions(matrix[:-1], 15 + len(names))
        if c < len(names)
    ][:15]
    precision = {kind: s.precision() for kind, s in scores.items()}
    rows = _class_rows(inputs, scores, threshold)
    worst, best = _pictures(inputs, box, threshold)
    return dict(
        task='detection',
        facts=[
            counted(len(inputs.predictions), 'image'),
            counted(len(names), 'class'),
            counted(len(matches.objects), 'object'),
            counted(int(matches.counted.sum()), 'detection'),
        ],
        headlines=[
            *((f'{kind} AP', percent(s.summary['mAP'])) for kind, s in scores.items()),
            *((f'{kind} AP50', percent(s.summary['mAP_50'])) for kind, s in scores.items()),
            ('best F1', percent(sweep.f1[sweep.best]) if len(sweep.f1) else '0.0'),
        ],
        findings=[*_untested(inputs), *_findings(sweep, scores, rows, confusions)],
        summary={kind: list(s.summary.values()) for kind, s in scores.items()},
        comparison=about.comparison(
            cfg,
            {kind: 100 * s.summary['mAP'] for kind, s in scores.items()},
            *(len(inputs.predictions), names, split),
        ),
        rows=rows,
        kinds=list(scores),
        threshold=threshold,
        iou=IOU,
        precision_recall=figures.precision_recall(precision, box.recall_grid, box.iou_thresholds),
        class_curves=figures.class_curves(
            {kind: p[0] for kind, p in precision.items()}, box.recall_grid, names
        ),
        sweep=figures.score_threshold(sweep) if len(sweep.thresholds) else None,
        errors=TIDE_ERRORS,
        tide={kind: s.tide for kind, s in scores.items()},
        error_costs=figures.error_costs({kind: s.tide for kind, s in scores.items()}),
        matrix=figures.confusion_matrix(matrix, [*names, 'background'], [*names, 'missed']),
        beside=len(names) <= figures.LABELLED,
        confusions=confusions,
        sizes=figures.object_sizes(matches, threshold),
        worst=worst,
        best=best if len(sweep.thresholds) else [],
    )


def _class_rows(inputs: Inputs, scores: dict[str, Scores], threshold: float) -> list[dict]:
    """What the table of the classes shows, one dict for each class."""
    matches = scores['box'].matches
    right, wrong, missed = matches.counts('label', range(len(inputs.classes)), threshold)
    rows = []
    for label, name in enumerate(inputs.classes):
        detected, there = right[label] + wrong[label], right[label] + missed[label]
        rows.append(
            dict(
                name=name,
                objects=int(there),
                images=len(np.unique(matches.objects.image[matches.objects.label == label])),
                ap={kind: s.by_class[label] for kind, s in scores.items()},
                precision=right[label] / detected if detected else -1.0,
                recall=right[label] / there if there else -1.0,
                f1=float(f1(right[label], wrong[label], missed[label])),
            )
        )
    return rows


def _untested(inputs: Inputs) -> Iterator[str]:
    number = len(inputs.api.imgs.keys() - inputs.paths.keys())
    if number:
        yield (
            f'Of the {len(inputs.api.imgs):,} images in the annotation file {number:,} were not '
            'tested; what is in them counts as missed.'
        )


def _findings(
    sweep: Sweep, scores: dict[str, Scores], rows: list[dict], confusions: list[tuple]
) -> Iterator[str]:
    """What the numbers say, in sentences for someone who reads no further."""
    objects = len(scores['box'].matches.objects)
    if not len(sweep.thresholds):
        yield f'Nothing was detected; there to be found: {counted(objects, "object")}.'
        return
    best = sweep.best
    yield (
        f'From the score {sweep.thresholds[best]:.2f} on, where F1 is best, the model finds '
        f'{percent(sweep.recall[best])}% of {counted(objects, "object")}, and '
        f'{percent(sweep.precision[best])}% of what it detects is right.'
    )
    costs = {TIDE_ERRORS[key][0]: error['cost'] for key, error in scores['box'].tide.items()}
    first, second = sorted(costs, key=costs.get, reverse=True)[:2]
    if costs[first] > 0:
        yield (
            f'What costs most: {first}. Mending all errors of that kind would add '
            f'{percent(costs[first])} box AP50; the next, {second}, {percent(costs[second])}.'
        )
    ranked = sorted((r for r in rows if r['objects']), key=lambda r: r['ap']['box']['mAP'])
    if len(ranked) > 2:
        last, top = ranked[0], ranked[-1]
        yield (
            f'By class, box AP goes from {percent(last["ap"]["box"]["mAP"])} ({last["name"]}, '
            f'{counted(last["objects"], "object")}) to {percent(top["ap"]["box"]["mAP"])} '
            f'({top["name"]}, {counted(top["objects"], "object")}).'
        )
    if confusions and confusions[0][2] > 1:
        truth, predicted, count, share = confusions[0]
        yield (
            f'The most common confusion: {truth} taken for {predicted}, {count:,} times, '
            f'{percent(share)}% of its objects.'
        )


def _pictures(
    inputs: Inputs, box: Scores, threshold: float
) -> tuple[list[pictures.Picture], list[pictures.Picture]]:
    images = sorted(inputs.paths)
    counts = box.matches.counts('image', images, threshold)
    score = dict(zip(images, f1(*counts)))
    count = dict(zip(images, zip(*counts)))
    chosen = pictures.worst_and_best(
        {i: value for i, value in score.items() if value >= 0},
        {i: sum(count[i]) for i in images},
        _PICTURES,
    )
    worst, best = (
        [
            pictures.detections(
                *(inputs, box.matches, i, threshold),
                'F1 {}: {} right, {} wrong, {} missed'.format(percent(score[i]), *count[i]),
            )
            for i in chosen_images
        ]
        for chosen_images in chosen
    )
    return [p for p in worst if p], [p for p in best if p]
