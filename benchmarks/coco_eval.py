#!/usr/bin/env python
"""Time COCO evaluation with pycocotools and with this package: benchmarks/coco_eval.py

Both evaluators get the same synthetic detections in the form that a model returns, and compute the
metrics as after the last image of a test. The data resemble COCO val2017 with 100 detections per
image. 5,000 images need 3 GiB and a few minutes, most of them for pycocotools.
"""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Iterator

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.logging import MMLogger
from pycocotools import mask as rle
from rich.console import Console
from rich.table import Table

from convnext_mm.evaluation.coco import FastCocoMetric

WIDTH, HEIGHT = 640, 480  # px
CLASSES = tuple(f'class {i}' for i in range(80))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--detections', type=int, default=100, help='detections per image')
    parser.add_argument('--metrics', nargs='+', default=['bbox', 'segm'])
    args = parser.parse_args()

    MMLogger.get_instance('benchmark', log_level='ERROR')
    rng = np.random.default_rng(0)
    truth, results = synthetic(rng, args.images, args.detections)
    table = Table(
        '', 'pycocotools', 'this package', 'speed-up', 'largest difference', title_justify='left'
    )
    table.title = f'{args.images} images with {args.detections} detections each'
    for metric in args.metrics:
        (fast, seconds), (slow, reference) = (
            timed(kind, truth, results, metric) for kind in (FastCocoMetric, CocoMetric)
        )
        table.add_row(
            dict(bbox='boxes', segm='masks')[metric],
            *(f'{reference:.1f} s', f'{seconds:.2f} s', f'{reference / seconds:.0f}x'),
            f'{max(abs(fast[key] - slow[key]) for key in slow):g}',
        )
    Console().print(table)
    return 0


def timed(kind: type, truth: COCO, results: list, metric: str) -> tuple[dict, float]:
    """Return the metrics of one evaluator and the time in seconds."""
    evaluator = kind(metric=metric)
    evaluator._coco_api = truth
    evaluator.dataset_meta = dict(classes=CLASSES)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = evaluator.compute_metrics(results)
    return metrics, time.perf_counter() - start


def synthetic(rng: np.random.Generator, images: int, count: int) -> tuple[COCO, list]:
    """Make ground truth with about 7 objects per image, and detections of them with noise."""
    truth, results = COCO(), []
    truth.dataset = dict(
        images=[dict(id=i, width=WIDTH, height=HEIGHT) for i in range(1, images + 1)],
        categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)],
        annotations=[],
    )
    for image in truth.dataset['images']:
        size = dict(width=WIDTH, height=HEIGHT, img_id=image['id'])
        objects, labels = random_boxes(rng, rng.poisson(7)), rng.integers(80, size=count)
        # An image of COCO has few classes, and most detections are of these classes.
        labels = rng.choice(labels[:3], count)
        truth.dataset['annotations'] += annotations(rng, image['id'], objects, labels, truth)
        boxes = random_boxes(rng, count)
        found = min(3 * len(objects), count)
        boxes[:found] = np.tile(objects, (3, 1))[:found] * rng.normal(1, 0.05, (found, 4))
        labels[:found] = np.tile(labels[: len(objects)], 3)[:found]
        results.append((size, prediction(rng, image['id'], boxes, labels)))
    truth.createIndex()
    return truth, results


def annotations(
    rng: np.random.Generator, image_id: int, boxes: np.ndarray, labels: np.ndarray, truth: COCO
) -> Iterator[dict]:
    first = len(truth.dataset['annotations']) + 1
    for i, (box, mask) in enumerate(zip(boxes.tolist(), octagons(boxes))):
        yield dict(
            id=first + i,
            image_id=image_id,
            category_id=int(labels[i]) + 1,
            bbox=box,
            area=float(rle.area(mask)),
            iscrowd=int(rng.random() < 0.1),
            segmentation=dict(mask, counts=mask['counts'].decode()),
        )


def prediction(
    rng: np.random.Generator, image_id: int, boxes: np.ndarray, labels: np.ndarray
) -> dict:
    """Make the prediction for an image in the form that CocoMetric keeps."""
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).astype(np.float32)
    scores = rng.random(len(labels), dtype=np.float32)
    return dict(
        img_id=image_id, bboxes=corners, scores=scores, labels=labels, masks=octagons(boxes)
    )


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return (count, 4) boxes as x, y, width, height in px, with sizes similar to COCO."""
    sizes = np.clip(rng.lognormal(4, 1, (count, 2)), 4, (WIDTH - 8, HEIGHT - 8))
    return np.hstack([rng.random((count, 2)) * ((WIDTH, HEIGHT) - sizes), sizes])


def octagons(boxes: np.ndarray) -> list[dict]:
    """Return for each box the RLE of an octagon inside it."""
    corners = np.array([.3, 0, .7, 0, 1, .3, 1, .7, .7, 1, .3, 1, 0, .7, 0, .3])  # fmt: skip
    polygons = corners * np.tile(boxes[:, 2:], 8) + np.tile(boxes[:, :2], 8)
    return [rle.merge(rle.frPyObjects([polygon], HEIGHT, WIDTH)) for polygon in polygons.tolist()]


if __name__ == '__main__':
    sys.exit(main())
