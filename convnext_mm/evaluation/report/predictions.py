"""Predictions as ``tools/test.py --out`` writes them: a pickle with one dict for each image."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS
from mmengine.structures import BaseDataElement
from torch import Tensor

from convnext_mm.errors import UserError

_LABEL_MAPS = ('gt_sem_seg', 'pred_sem_seg')


@METRICS.register_module()
class DumpLabelMaps(DumpResults):
    """Write the label maps of a segmentation test into a pickle, without the class scores.

    MMEngine's DumpResults also writes the scores of all classes, about 300 MB per image of ADE20K.
    The format is the same otherwise; labels are stored as the smallest integers that fit.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        slim = [{k: v for k, v in sample.items() if k != 'seg_logits'} for sample in data_samples]
        for sample in slim:
            for key in _LABEL_MAPS:
                if key in sample:
                    sample[key] = dict(data=_smallest(sample[key]['data']))
        super().process(data_batch, slim)


def read_predictions(path: str | Path) -> list[dict]:
    """Read the pickle that ``tools/test.py --out`` wrote. A pickle can run code when it is read.

    Raises:
        UserError: There is no such file, or it contains something else.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: no such file; tools/test.py --out {path} writes it')
    try:
        with open(path, 'rb') as file:
            predictions = pickle.load(file)
    except Exception as error:  # unpickling other bytes can raise any type
        reason = f'{type(error).__name__}: {error}'
        raise UserError(f'{path} was not written by tools/test.py --out: {reason}') from error
    if not isinstance(predictions, list) or not predictions or not isinstance(predictions[0], dict):
        raise UserError(f'{path} was not written by tools/test.py --out')
    return predictions


def detection_record(prediction: Mapping, path: str) -> dict:
    """Convert what CocoMetric keeps of an image to the format of ``tools/test.py --out``."""
    return dict(img_id=prediction['img_id'], img_path=path, pred_instances=prediction)


def label_map_record(sample: BaseDataElement) -> dict:
    """Compress the label maps of a data sample to PNGs, about 20 kB per image."""
    maps = {key: sample.get(key) for key in _LABEL_MAPS if key in sample}
    packed = {key: dict(data=_png(_smallest(value.data)[0])) for key, value in maps.items()}
    return dict(img_path=sample.get('img_path', ''), **packed)


def read_label_maps(record: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Return ground truth and prediction of an image, (H, W) integer labels.

    Raises:
        UserError: The record has no label maps.
    """
    if not record.keys() >= set(_LABEL_MAPS):
        raise UserError(
            'the predictions contain no label maps with ground truth: check that they belong to '
            'this config'
        )
    truth, predicted = (_labels(record[key]['data']) for key in _LABEL_MAPS)
    return truth, predicted


def _labels(data: object) -> np.ndarray:
    if isinstance(data, bytes):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(data).squeeze(0)


def _smallest(labels: Tensor) -> np.ndarray:
    """Convert labels to the smallest integers that fit."""
    kind = torch.uint8 if labels.max() < 256 else torch.int32  # small before leaving the GPU
    labels = labels.to(kind).cpu().numpy()
    return labels.astype(np.min_scalar_type(labels.max()))


def _png(labels: np.ndarray) -> bytes:
    return cv2.imencode('.png', labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
