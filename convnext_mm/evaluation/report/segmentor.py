"""What the report of a segmentor shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.config import Config

from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import about, figures, pictures, results
from convnext_mm.evaluation.report.segmentation import SegmentationScores, top_confusions
from convnext_mm.messages.wording import counted, percent
from convnext_mm.visualization.palette import palette

_PICTURES = 4  # of the worst and of the best


def content(cfg: Config, found: Sequence[dict], split: str) -> dict:
    """What the template of a segmentation report shows, by its names there.

    Args:
        cfg: The config that was tested.
        found: What ``tools/test.py --out`` writes.
        split: What was evaluated, ``test`` or, in training, ``val``.

    Raises:
        UserError: Results and config do not belong together.
    """
    meta = results.metainfo(cfg, split)
    names = tuple(meta['classes'])
    evaluators = results.evaluators(cfg, split)
    ignored = next((e.ignore_index for e in evaluators if 'ignore_index' in e), 255)
    try:
        scores = SegmentationScores(names, map(results.label_maps, found), ignored)
    except ValueError as error:
        raise UserError(f'results and config do not belong together: {error}') from error
    iou = np.array([row['IoU'] for row in scores.per_class])
    iou = np.where(iou < 0, np.nan, 100 * iou)
    confusions = [
        (names[r], names[c], count, share)
        for r, c, count, share in top_confusions(scores.confusion)
    ]
    shares = scores.pixel_shares()
    worst, best = _pictures(found, scores, meta)
    return dict(
        task='segmentation',
        facts=[
            counted(len(found), 'image'),
            counted(len(names), 'class'),
            f'{scores.confusion.sum() / 1e6:,.1f} megapixels',
        ],
        headlines=[
            *((key, percent(scores.mean[key])) for key in ('mIoU', 'mAcc', 'aAcc', 'fwIoU')),
        ],
        findings=list(_findings(names, iou, shares, confusions)),
        comparison=about.comparison(
            cfg, {'mIoU': 100 * scores.mean['mIoU']}, len(found), names, split
        ),
        rows=[
            dict(
                name=row['name'],
                iou=row['IoU'],
                accuracy=row['Acc'],
                share=share,
                area=row['gt_area'],
            )
            for row, share in zip(scores.per_class, shares)
        ],
        matrix=figures.confusion_matrix(scores.confusion, names, names),
        beside=len(names) <= figures.LABELLED,
        confusions=confusions,
        frequency=figures.iou_by_frequency(iou, shares, names),
        worst=worst,
        best=best,
    )


def _findings(
    names: Sequence[str], iou: np.ndarray, shares: np.ndarray, confusions: list[tuple]
) -> Iterator[str]:
    order = [i for i in np.argsort(iou) if not np.isnan(iou[i])]
    if len(order) > 2:
        last, top = order[0], order[-1]
        yield (
            f'By class, IoU goes from {iou[last]:.1f}% ({names[last]}, {percent(shares[last])}% '
            f'of the pixels) to {iou[top]:.1f}% ({names[top]}, {percent(shares[top])}%).'
        )
    if confusions:
        truth, predicted, _, share = confusions[0]
        yield (
            f'The largest confusion by area: {truth} taken for {predicted}, {percent(share)}% '
            'of its pixels.'
        )


def _pictures(
    found: Sequence[dict], scores: SegmentationScores, meta: dict
) -> tuple[list[pictures.Picture], list[pictures.Picture]]:
    by_image = {s.index: s.iou for s in scores.images if s.iou >= 0}
    colours = palette(meta)
    chosen = pictures.worst_and_best(by_image, dict.fromkeys(by_image, 0), _PICTURES)
    worst, best = (
        [
            pictures.label_maps(
                found[i].get('img_path', ''),
                *results.label_maps(found[i]),
                colours,
                scores.classes,
                f'mIoU {percent(by_image[i])}; '
                f'{percent(scores.images[i].accuracy)}% of the pixels right',
            )
            for i in images
        ]
        for images in chosen
    )
    return [p for p in worst if p], [p for p in best if p]
