"""The content of a segmentation report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from convnext_mm.config.nodes import evaluators
from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import plots
from convnext_mm.evaluation.report.confusions import Confusion, top_confusions
from convnext_mm.evaluation.report.evaluated_data import Predictions, read_label_maps
from convnext_mm.evaluation.report.gallery import (
    MAX_IMAGES,
    css_colours,
    draw_label_maps,
    filters,
    gallery,
)
from convnext_mm.evaluation.report.segmentation_scores import SegmentationScores
from convnext_mm.evaluation.results.label_maps import pair_of
from convnext_mm.messages.findings import Finding, Level
from convnext_mm.messages.wording import percent
from convnext_mm.visualization.palette import palette_without_background


def content(cfg: Config, predictions: Predictions, meta: dict, split: str, folder: Path) -> dict:
    """Return the variables of the template of a segmentation report.

    Args:
        cfg: The config that was tested.
        predictions: Predictions as ``tools/test.py --out`` writes them, or their file or folder.
        meta: The classes and the palette of the data set.
        split: The evaluated split: ``test``, or ``val`` during a training.
        folder: The folder of the page, which may get a folder of images.

    Raises:
        UserError: Predictions and config do not belong together.
    """
    names = tuple(meta['classes'])
    records = read_label_maps(cfg, predictions, names, split)
    ignored = (e.ignore_index for e in evaluators(cfg, split) if 'ignore_index' in e)
    try:
        scores = SegmentationScores(names, map(pair_of, records), next(ignored, 255))
    except ValueError as error:
        raise UserError(f'the predictions do not belong to this config: {error}') from error
    iou = np.array([row['IoU'] for row in scores.per_class])
    iou = np.where(iou < 0, np.nan, 100 * iou)
    confusions = top_confusions(scores.confusion, names)
    shares = scores.pixel_shares()
    rows = [
        dict(
            name=row['name'],
            iou=row['IoU'],
            accuracy=row['Acc'],
            share=float(share),
            area=int(row['gt_area']),
        )
        for row, share in zip(scores.per_class, shares)
    ]
    colours = palette_without_background(meta)
    return dict(
        task='segmentation',
        tested=len(records),
        counts=[f'{scores.confusion.sum() / 1e6:,.1f} megapixels'],
        metrics={'mIoU': scores.mean['mIoU']},
        headlines=[(key, percent(value)) for key, value in scores.mean.items()],
        highlights=list(_highlights(names, iou, shares, confusions)),
        findings=list(_check_ground_truth(names, shares)),
        rows=rows,
        matrix=plots.confusion_matrix(scores.confusion, names, names),
        confusions=confusions,
        iou_by_frequency=plots.iou_by_frequency(iou, shares, names),
        images=_images(records, scores, colours, folder),
        filters=filters(names, {}, 0.0) | dict(colours=css_colours(colours)),
        limit=MAX_IMAGES,
        doubts=None,
        record=dict(
            task='segmentation',
            metrics=scores.mean,
            classes=[{k: None if v == -1 else v for k, v in row.items()} for row in rows],
        ),
    )


def _check_ground_truth(names: Sequence[str], shares: np.ndarray) -> Iterator[Finding]:
    empty = tuple(name for name, share in zip(names, shares) if not share)
    if empty:
        what = 'Classes without pixels in the ground truth'
        yield Finding(Level.NOTE, 'ground truth', what, empty)


def _highlights(
    names: Sequence[str], iou: np.ndarray, shares: np.ndarray, confusions: list[Confusion]
) -> Iterator[str]:
    """Write the main results as sentences."""
    order = [i for i in np.argsort(iou) if not np.isnan(iou[i])]
    if len(order) > 2:
        lowest, highest = (
            f'{iou[i]:.1f} ({names[i]}, {percent(shares[i])}% of the pixels)'
            for i in (order[0], order[-1])
        )
        yield f'IoU by class ranges from {lowest} to {highest}.'
    if confusions:
        top = confusions[0]
        yield (
            f'The largest confusion by area: {percent(top.share)}% of the {top.truth} pixels are '
            f'predicted as {top.predicted}.'
        )


def _images(
    records: Sequence[dict], scores: SegmentationScores, colours: list, folder: Path
) -> list[dict]:
    """Return the data of the images, worst first."""
    order = sorted((i for i in scores.images if i.iou >= 0), key=lambda image: image.iou)
    captions = {
        image.index: f'mIoU {percent(image.iou)}; {percent(image.accuracy)}% of the pixels are '
        'correct'
        for image in order
    }
    return gallery(
        {image.index: image.iou for image in order},
        lambda index, store, _: draw_label_maps(
            str(records[index].get('img_path', '')),
            pair_of(records[index]),
            colours,
            captions[index],
            store,
        ),
        folder,
    )
