"""Evaluators of MMEngine that write the results of a test into a file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import hotcoco
import numpy as np
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.registry import METRICS
from torch import Tensor

from convnext_mm.errors import UserError
from convnext_mm.evaluation.coco_ap import category_ids, read_annotations
from convnext_mm.evaluation.detections import Detections
from convnext_mm.evaluation.results import coco_json, label_maps

_ARRAYS = ('bboxes', 'scores', 'labels', 'mask_scores')


class _WriteResults(BaseMetric):
    """Collect the results of all processes, and write them in the main process."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def compute_metrics(self, results: list) -> dict:
        try:
            self._write(results)
        except OSError as error:
            raise UserError(f'{self.path} cannot be written: {error.strerror}') from error
        return {}

    @abstractmethod
    def _write(self, results: list) -> None: ...


@METRICS.register_module()
class WriteCocoResults(_WriteResults):
    """Write the detections of a test as a COCO results JSON.

    Args:
        path: The file to write.
        ann_file: The annotation file, which has the ids of the categories.
        sort_categories: As in MMDetection's CocoMetric: the labels have the order of the ids.
    """

    def __init__(self, path: str, ann_file: str, sort_categories: bool = False) -> None:
        super().__init__(path)
        self.ann_file, self.sort_categories = ann_file, sort_categories

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += map(_prediction, data_samples)

    def _write(self, results: list[dict]) -> None:
        api = read_annotations(self.ann_file, self.sort_categories)
        cat_ids = category_ids(api, self.dataset_meta['classes'])
        coco_json.write(self.path, Detections.of(results), cat_ids)


def _prediction(sample: Mapping) -> dict:
    """Return the prediction of an image as MMDetection's CocoMetric keeps it."""
    instances = sample['pred_instances']
    prediction = {key: instances[key].cpu() for key in _ARRAYS if key in instances}
    if 'masks' in instances:
        masks = instances['masks']
        is_tensor = isinstance(masks, Tensor)
        prediction['masks'] = list(map(_encode, masks.cpu().numpy())) if is_tensor else masks
    return dict(img_id=sample['img_id'], **prediction)


def _encode(mask: np.ndarray) -> dict:
    return hotcoco.mask.encode(np.asfortranarray(mask, np.uint8))


@METRICS.register_module()
class WriteLabelMaps(_WriteResults):
    """Write the label maps of a segmentation test as PNGs, into a folder or a zip file.

    Args:
        path: The folder, or a file that ends in ``.zip``.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            labels = sample['pred_sem_seg']['data'].squeeze(0)
            self.results.append((sample['img_path'], label_maps.as_png(labels)))

    def _write(self, results: list[tuple[str, bytes]]) -> None:
        label_maps.write(self.path, *zip(*results))


@METRICS.register_module()
class DumpLabelMaps(DumpResults):
    """Write the label maps of a segmentation test into a pickle, without the class scores.

    MMEngine's DumpResults also writes the scores of all classes, about 300 MB per image of ADE20K.
    The format is the same otherwise; labels are stored as the smallest integers that fit.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        slim = [{k: v for k, v in sample.items() if k != 'seg_logits'} for sample in data_samples]
        for sample in slim:
            for key in label_maps.MAPS:
                if key in sample:
                    sample[key] = dict(data=label_maps.smallest(sample[key]['data']))
        super().process(data_batch, slim)
