"""What an evaluation left behind, as the report needs it: predictions, ground truth, metadata."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.registry import DATASETS, METRICS, init_default_scope
from torch import Tensor

from convnext_mm.data.layouts import leaf_datasets
from convnext_mm.errors import UserError
from convnext_mm.evaluation.coco import category_ids
from convnext_mm.evaluation.report.detection import Inputs


@METRICS.register_module()
class DumpLabelMaps(DumpResults):
    """Write the label maps of a segmentation test into a pickle, without the scores.

    MMEngine's DumpResults keeps the scores of all classes too, which for ADE20K are some 300 MB an
    image. Same format otherwise; labels in the smallest integers that hold them.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        slim = [{k: v for k, v in sample.items() if k != 'seg_logits'} for sample in data_samples]
        for sample in slim:
            for key in ('pred_sem_seg', 'gt_sem_seg'):
                if key in sample:
                    labels = sample[key]['data'].cpu().numpy()
                    sample[key] = dict(data=labels.astype(np.min_scalar_type(labels.max())))
        super().process(data_batch, slim)


def read_results(path: str | Path) -> list[dict]:
    """What ``tools/test.py --out`` wrote; a pickle, so only open your own.

    Raises:
        UserError: There is no such file, or it holds something else.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: no such file; tools/test.py --out {path} writes it')
    with open(path, 'rb') as file:
        results = pickle.load(file)
    if not isinstance(results, list) or not results or not isinstance(results[0], dict):
        raise UserError(f'{path} is not what tools/test.py --out writes')
    return results


def evaluators(cfg: Config) -> list[ConfigDict]:
    """The config's test evaluators, be they one or several."""
    found = cfg.test_evaluator
    return [found] if isinstance(found, dict) else list(found)


def metainfo(cfg: Config) -> dict:
    """Classes and palette of the test data, as its data set class or the config states them."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = ConfigDict(next(leaf_datasets(cfg.test_dataloader)), lazy_init=True, pipeline=[])
    return DATASETS.build(dataset).metainfo


def detection_inputs(cfg: Config, results: Sequence[dict]) -> Inputs:
    """Ground truth and predictions of a detection test.

    Raises:
        UserError: The config's test evaluator names no annotation file, or none that fits.
    """
    path = next((e.ann_file for e in evaluators(cfg) if e.get('ann_file')), None)
    if path is None:
        raise UserError('the report needs the ground truth: test_evaluator has no ann_file')
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file, and it is test_evaluator's ann_file")
    if 'pred_instances' not in results[0]:
        raise UserError('the results hold no detections: do they belong to this config?')
    api = COCO(path)
    classes = tuple(metainfo(cfg)['classes'])
    return Inputs(
        classes=classes,
        api=api,
        cat_ids=category_ids(api, classes),
        predictions=[_prediction(result) for result in results],
        paths={result['img_id']: result.get('img_path', '') for result in results},
    )


def label_maps(results: Sequence[dict]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ground truth and prediction of each image of a segmentation test, (H, W) integer labels.

    Raises:
        UserError: There is no ground truth among the results.
    """
    for result in results:
        if not {'gt_sem_seg', 'pred_sem_seg'} <= result.keys():
            raise UserError(
                'the results hold no label maps with ground truth: do they belong to this config?'
            )
        yield tuple(
            np.asarray(result[key]['data']).squeeze(0) for key in ('gt_sem_seg', 'pred_sem_seg')
        )


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
