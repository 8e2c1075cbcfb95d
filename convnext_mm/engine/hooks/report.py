"""Write a report of the last evaluation when a training ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import all_gather_object, collect_results, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console

from convnext_mm.engine.hooks.summary import last_checkpoint
from convnext_mm.errors import UserError
from convnext_mm.evaluation.results.label_maps import record_of

_COCO, _IOU = 'mmdet.CocoMetric', 'mmseg.IoUMetric'


class ReportHook(Hook):
    """Write ``report.html`` of the last evaluation into the work dir when a training ends.

    The report needs no second test: each process keeps the predictions of its latest evaluation,
    for a detector with masks as RLEs, for a segmentor as PNGs. For COCO's validation set this
    takes 120 MB in all processes together. The main process collects them once, at the end.

    There is a report for CocoMetric in MMDetection and for IoUMetric in MMSegmentation. If a report
    cannot be written, the hook logs a warning and the training still succeeds.

    Args:
        name: File name of the config.
    """

    priority = 'VERY_LOW'

    def __init__(self, name: str) -> None:
        self.name = name
        self._predictions: list[dict] = []
        self._evaluated = ''
        self._checkpoint = ''

    def before_train(self, runner: Runner) -> None:
        metrics = runner.val_loop.evaluator.metrics if runner.val_loop else ()
        self._metric = next(filter(_metric_name, metrics), None)

    def before_val_epoch(self, runner: Runner) -> None:
        self._predictions, self._paths = [], {}

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None, outputs: Sequence
    ) -> None:
        if self._metric is None:
            return
        try:
            self._keep(outputs, last=batch_idx + 1 == len(runner.val_dataloader))
        except Exception as error:
            self._metric = None
            _warn(runner, error)

    def _keep(self, outputs: Sequence, last: bool) -> None:
        if _metric_name(self._metric) == _IOU:
            self._predictions += map(record_of, outputs)
            return
        self._paths |= {sample.img_id: sample.get('img_path', '') for sample in outputs}
        if last:  # the metric forgets its predictions after the evaluation
            self._predictions = [
                dict(img_id=p['img_id'], img_path=self._paths[p['img_id']], pred_instances=p)
                for _, p in self._metric.results
            ]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        by_epoch = 'max_epochs' in runner.cfg.train_cfg
        self._evaluated = f'epoch {runner.epoch}' if by_epoch else f'iteration {runner.iter:,}'
        self._checkpoint = f'epoch_{runner.epoch}.pth' if by_epoch else f'iter_{runner.iter}.pth'

    def after_train(self, runner: Runner) -> None:
        if not self._evaluated:
            return
        # Collecting would wait forever for a process that has no predictions.
        if not all(all_gather_object(self._metric is not None)):
            if self._metric:
                runner.logger.warning('no report: another process has no predictions for it')
            return
        try:
            predictions = collect_results(
                self._predictions,
                len(runner.val_dataloader.dataset),
                self._metric.collect_device,
                self._metric.collect_dir,
            )
            if is_main_process():
                self._write(runner, predictions)
        except Exception as error:
            _warn(runner, error)

    def _write(self, runner: Runner, predictions: list[dict]) -> None:
        # A training loads the plotting library only when it draws.
        from convnext_mm.evaluation.report.page import write_report

        path = write_report(
            runner.cfg,
            predictions,
            work_dir=runner.work_dir,
            weights=self._evaluated,
            checkpoints=self._files(runner),
            name=self.name,
            split='val',
        )
        Console().print(f'written: {path}', highlight=False, soft_wrap=True)

    def _files(self, runner: Runner) -> list[Path]:
        """Return the checkpoints with the evaluated weights.

        They are the last one, if it is of the same iteration, and its copy as the best one, which
        is written after the evaluation.
        """
        last = last_checkpoint(runner.work_dir)
        if not last or last.name != self._checkpoint:
            return []
        written = last.stat().st_mtime_ns
        best = Path(runner.work_dir).glob(f'best_*_{self._checkpoint}')
        return [last, *(path for path in best if path.stat().st_mtime_ns >= written)]


def _metric_name(metric: BaseMetric) -> str | None:
    """Return the name of the metric or of its base class if there is a report for it."""
    # By name, because a detector is trained without MMSegmentation and a segmentor without
    # MMDetection.
    bases = type(metric).__mro__
    names = (f'{base.__module__.partition(".")[0]}.{base.__name__}' for base in bases)
    return next((name for name in names if name in (_COCO, _IOU)), None)


def _warn(runner: Runner, error: Exception) -> None:
    """Log why there is no report."""
    if isinstance(error, UserError):
        runner.logger.warning(f'no report: {error}')
    else:
        reason = f'{type(error).__name__}: {error}'
        runner.logger.warning(f'no report because of {reason}', exc_info=error)
