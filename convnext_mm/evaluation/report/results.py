"""What an evaluation left behind, as the report needs it: predictions, ground truth, metadata."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.datasets.api_wrappers import COCO
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.registry import DATASETS, METRICS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.errors import UserError
from convnext_mm.evaluation.coco import category_ids
from convnext_mm.evaluation.report.detection import Inputs

_LABEL_MAPS = ('gt_sem_seg', 'pred_sem_seg')


@METRICS.register_module()
class DumpLabelMaps(DumpResults):
    """Write the label maps of a segmentation test into a pickle, without the scores.

    MMEngine's DumpResults keeps the scores of all classes too, which for ADE20K are some 300 MB an
    image. Same format otherwise; labels in the smallest integers that hold them.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        slim = [{k: v for k, v in sample.items() if k != 'seg_logits'} for sample in data_samples]
        for sample in slim:
            for key in _LABEL_MAPS:
                if key in sample:
                    sample[key] = dict(data=_smallest(sample[key]['data']))
        super().process(data_batch, slim)


def read_results(path: str | Path) -> list[dict]:
    """What ``tools/test.py --out`` wrote; a pickle, so only open your own.

    Raises:
        UserError: There is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: no such file; tools/test.py --out {path} writes it')
    try:
        with open(path, 'rb') as file:
            results = pickle.load(file)
    except Exception as error:  # of whatever type the bytes lead to
        reason = f'{type(error).__name__}: {error}'
        raise UserError(f'{path} is not what tools/test.py --out writes: {reason}') from error
    if not isinstance(results, list) or not results or not isinstance(results[0], dict):
        raise UserError(f'{path} is not what tools/test.py --out writes')
    return results


def detections(found: Mapping, path: str) -> dict:
    """What a CocoMetric keeps of an image, as ``tools/test.py --out`` writes it."""
    return dict(img_id=found['img_id'], img_path=path, pred_instances=found)


def packed_label_maps(sample: BaseDataElement) -> dict:
    """The label maps of a segmentor's sample as PNGs, some 20 kB an image, with its path."""
    maps = {key: sample.get(key) for key in _LABEL_MAPS if key in sample}
    packed = {key: dict(data=_png(_smallest(value.data)[0])) for key, value in maps.items()}
    return dict(img_path=sample.get('img_path', ''), **packed)


def evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    """The config's evaluators of ``test`` or ``val``, be they one or several."""
    found = cfg[f'{split}_evaluator']
    return [found] if isinstance(found, dict) else list(found)


def metainfo(cfg: Config, split: str) -> dict:
    """Classes and palette of the data, as its data set class or the config states them."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    leaf = next(leaf_datasets(cfg[f'{split}_dataloader']))
    return DATASETS.build(ConfigDict(leaf, lazy_init=True, pipeline=[])).metainfo


def detection_inputs(cfg: Config, results: Sequence[dict], split: str) -> Inputs:
    """Ground truth and predictions of a detector's evaluation on ``test`` or ``val``.

    Raises:
        UserError: The config's evaluator names no annotation file, or none that fits.
    """
    path = next((e.ann_file for e in evaluators(cfg, split) if e.get('ann_file')), None)
    if path is None:
        raise UserError(f'the report needs the ground truth: {split}_evaluator has no ann_file')
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file, and it is {split}_evaluator's ann_file")
    if 'pred_instances' not in results[0]:
        raise UserError('the results hold no detections: do they belong to this config?')
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools tells how long it reads
        api = COCO(path)
    classes = tuple(metainfo(cfg, split)['classes'])
    return Inputs(
        classes=classes,
        api=api,
        cat_ids=category_ids(api, classes),
        predictions=[_prediction(result) for result in results],
        paths={result['img_id']: result.get('img_path', '') for result in results},
    )


def label_maps(result: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth and prediction of an image of a segmentation, (H, W) integer labels.

    Raises:
        UserError: There is no ground truth in the result.
    """
    if not result.keys() >= set(_LABEL_MAPS):
        raise UserError(
            'the results hold no label maps with ground truth: do they belong to this config?'
        )
    truth, predicted = (_labels(result[key]['data']) for key in _LABEL_MAPS)
    return truth, predicted


def _labels(data: object) -> np.ndarray:
    if isinstance(data, bytes):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(data).squeeze(0)


def _smallest(labels: Tensor) -> np.ndarray:
    """Labels in the smallest integers that hold them."""
    kind = torch.uint8 if labels.max() < 256 else torch.int32  # before they leave the GPU
    labels = labels.to(kind).cpu().numpy()
    return labels.astype(np.min_scalar_type(labels.max()))


def _png(labels: np.ndarray) -> bytes:
    return cv2.imencode('.png', labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _prediction(result: dict) -> dict:
    instances = result['pred_instances']
    arrays = {
        key: instances[key].float().numpy() if isinstance(instances[key], Tensor) else value
        for key, value in instances.items()
        if key in ('bboxes', 'scores', 'mask_scores')
    }
    if 'masks' in instances:
        arrays['masks'] = instances['masks']
    return dict(img_id=result['img_id'], labels=np.asarray(instances['labels']), **arrays)
