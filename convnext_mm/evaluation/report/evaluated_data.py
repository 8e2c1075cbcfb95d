"""The data of an evaluation: classes, annotations and predictions."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, init_default_scope
from pycocotools.coco import COCO
from torch import Tensor

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.errors import UserError
from convnext_mm.evaluation.coco_ap import category_ids


@dataclass(frozen=True)
class DetectionData:
    """Ground truth and predictions of a detector.

    Attributes:
        classes: Names in the order of the labels.
        api: The annotation file.
        cat_ids: The category ids of the annotation file in the order of the labels.
        predictions: For each image ``img_id`` and these arrays: ``bboxes`` (n, 4) as x1, y1, x2, y2
            in px, ``scores`` (n,), ``labels`` (n,), and ``masks``, n RLEs, if the model predicts
            masks.
        paths: Image files by image id.
    """

    classes: tuple[str, ...]
    api: COCO
    cat_ids: list[int]
    predictions: list[dict]
    paths: dict[int, str]

    @property
    def has_masks(self) -> bool:
        annotations = self.api.dataset.get('annotations', ())
        return all('masks' in p for p in self.predictions) and all(
            a.get('segmentation') for a in annotations if a['category_id'] in set(self.cat_ids)
        )


def evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    """Return the evaluators of ``test`` or ``val``; a config may have one or several."""
    found = cfg[f'{split}_evaluator']
    return [found] if isinstance(found, dict) else list(found)


def metainfo(cfg: Config, split: str) -> dict:
    """Return classes and palette from the data set class or the config."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    leaf = next(leaf_datasets(cfg[f'{split}_dataloader']))
    return DATASETS.build(ConfigDict(leaf, lazy_init=True, pipeline=[])).metainfo


def read_detection_data(
    cfg: Config, predictions: Sequence[dict], classes: Sequence[str], split: str
) -> DetectionData:
    """Read the annotation file of ``test`` or ``val`` and pair it with the predictions.

    Raises:
        UserError: The evaluator in the config names no annotation file, or it does not fit.
    """
    path = next((e.ann_file for e in evaluators(cfg, split) if e.get('ann_file')), None)
    if path is None:
        raise UserError(f'the report needs the ground truth, but {split}_evaluator has no ann_file')
    if not Path(path).is_file():
        raise UserError(f'{split}_evaluator.ann_file: {path}: no such file')
    if 'pred_instances' not in predictions[0]:
        raise UserError(
            'the predictions contain no detections: check that they belong to this config'
        )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
        api = COCO(path)
    return DetectionData(
        classes=tuple(classes),
        api=api,
        cat_ids=category_ids(api, classes),
        predictions=[_arrays(prediction) for prediction in predictions],
        paths={p['img_id']: p.get('img_path', '') for p in predictions},
    )


def _arrays(prediction: dict) -> dict:
    instances = prediction['pred_instances']
    arrays = {
        key: value.float().numpy() if isinstance(value, Tensor) else value
        for key, value in instances.items()
        if key in ('bboxes', 'scores', 'mask_scores')
    }
    if 'masks' in instances:
        arrays['masks'] = instances['masks']
    return dict(img_id=prediction['img_id'], labels=np.asarray(instances['labels']), **arrays)
