"""MMDetection's COCO metric on a compiled evaluator."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import hotcoco
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from terminaltables import AsciiTable

from convnext_mm.errors import SettingError
from convnext_mm.evaluation.coco_ap import (
    ap_by_class,
    category_ids,
    evaluate,
    ground_truth,
    metric_names,
    summary,
)
from convnext_mm.evaluation.detections import Detections


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """MMDetection's CocoMetric on a compiled evaluator.

    The arguments and the names in the log are the same as in CocoMetric. The differences:

    - It writes no file unless ``outfile_prefix`` is set.
    - With ``classwise`` the AP of a class is logged as ``bbox_<class>_precision`` or
      ``segm_<class>_precision``; in CocoMetric masks overwrite boxes.
    - AP is 0, not missing, if there is no detection at all.
    - Annotation ids may start at 0.
    - ``use_mp_eval`` has no effect.

    Raises:
        SettingError: The metric is ``proposal_fast``, which needs numpy below 1.24; or one of
            ``metric_items`` does not exist with these ``proposal_nums``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if 'proposal_fast' in self.metrics:
            raise SettingError(
                "metric='proposal_fast' is not supported: use 'proposal', which is as fast"
            )
        known = metric_names(self.proposal_nums)
        unknown = [name for name in self.metric_items or () if name not in known]
        if unknown:
            raise SettingError(
                f'metric_items: {", ".join(unknown)} cannot be computed with proposal_nums='
                f'{tuple(self.proposal_nums)}; allowed: {", ".join(known)}'
            )

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Compute the metrics of the results that all processes collected.

        Args:
            results: The ground truth and the prediction of each image, as :meth:`process` made
                them. The ground truth is used only if there is no ``ann_file``.

        Raises:
            UserError: An image or a class is not in the annotation file, or masks are evaluated
                and an annotation or a prediction has none.
        """
        logger = MMLogger.get_current_instance()
        truths, predictions = zip(*results)
        self._read_ground_truth(truths)
        if self.outfile_prefix is not None:
            self.results2json(predictions, self.outfile_prefix)
        if self.format_only:
            logger.info(f'results are saved in {Path(self.outfile_prefix).parent}')
            return {}
        found = Detections.of(predictions)
        metrics = {}
        for metric in self.metrics:
            logger.info(f'Evaluating {metric}...')
            evaluated = evaluate(
                ground_truth(self._coco_api, self.cat_ids, masks=metric == 'segm'),
                found,
                'bbox' if metric == 'proposal' else metric,
                iou_thrs=self.iou_thrs,
                max_dets=self.proposal_nums,
                use_classes=metric != 'proposal',
            )
            metrics |= self._named(metric, evaluated, logger)
        return metrics

    def _read_ground_truth(self, truths: Sequence[dict]) -> None:
        if self._coco_api is None:
            with tempfile.TemporaryDirectory() as folder:
                self._coco_api = COCO(self.gt_to_coco_json(truths, f'{folder}/results'))
        if self.cat_ids is None:
            self.cat_ids = category_ids(self._coco_api, self.dataset_meta['classes'])

    def _named(
        self, metric: str, evaluated: hotcoco.COCOeval, logger: MMLogger
    ) -> dict[str, float]:
        """Return the requested metrics by their names in the log, rounded like in MMDetection."""
        known = summary(evaluated)
        logger.info(f'{metric}: ' + ', '.join(f'{k} {v:.3f}' for k, v in known.items()))
        if metric == 'proposal':
            wanted = self.metric_items or [name for name in known if name.startswith('AR')]
            return {name: _rounded(known, name) for name in wanted}
        wanted = self.metric_items or [name for name in known if name.startswith('mAP')]
        metrics = {f'{metric}_{name}': _rounded(known, name) for name in wanted}
        ap = ' '.join(f'{value:.3f}' for name, value in known.items() if name.startswith('mAP'))
        logger.info(f'{metric}_mAP_copypaste: {ap}')
        if self.classwise:
            names = [category['name'] for category in self._coco_api.loadCats(self.cat_ids)]
            rows = dict(zip(names, ap_by_class(evaluated)))
            table = [[name, *(f'{v:.3f}' for v in row.values())] for name, row in rows.items()]
            header = ['category', *next(iter(rows.values()))]
            logger.info('\n' + AsciiTable([header, *table]).table)
            metrics |= {
                f'{metric}_{name}_precision': _rounded(row, 'mAP') for name, row in rows.items()
            }
        return metrics


def _rounded(values: dict[str, float], name: str) -> float:
    return round(values[name], 3)
