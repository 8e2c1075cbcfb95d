"""The report of a training: of its last evaluation, from the predictions made for that anyway."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmdet.evaluation import CocoMetric
from mmengine.dist import all_gather_object, collect_results, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from rich.console import Console

from convnext_mm.errors import UserError
from convnext_mm.evaluation.report.results import detections, packed_label_maps


class ReportHook(Hook):
    """At the end of training: ``report.html`` in the work dir, of the last evaluation.

    Until the next evaluation every process keeps what its CocoMetric collected, the masks as RLEs,
    or its label maps as PNGs: for COCO's validation set 120 MB in all processes together. The main
    one gathers them once, when training ends. Other evaluators have no report. A report that fails
    is a warning, and the training has ended well.

    Args:
        name: The config's file name.
    """

    priority = 'VERY_LOW'

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: list[dict] = []
        self._evaluated = ''

    def before_train(self, runner: Runner) -> None:
        metrics = runner.val_loop.evaluator.metrics if runner.val_loop else ()
        known = (m for m in metrics if isinstance(m, (CocoMetric, IoUMetric)))
        self._metric = next(known, None)

    def before_val_epoch(self, runner: Runner) -> None:
        self._found, self._paths = [], {}

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
        if isinstance(self._metric, IoUMetric):
            self._found += map(packed_label_maps, outputs)
            return
        self._paths |= {sample.img_id: sample.get('img_path', '') for sample in outputs}
        if last:  # the metric has all of them, and in a moment forgets them
            results = (found for _, found in self._metric.results)
            self._found = [detections(found, self._paths[found['img_id']]) for found in results]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        by_epoch = 'max_epochs' in runner.cfg.train_cfg
        self._evaluated = f'epoch {runner.epoch}' if by_epoch else f'iteration {runner.iter:,}'

    def after_train(self, runner: Runner) -> None:
        if not self._evaluated:
            return
        # What one process could not keep, the others must not wait for.
        if not all(all_gather_object(self._metric is not None)):
            if self._metric:
                runner.logger.warning('no report: another process has no predictions for it')
            return
        try:
            found = collect_results(
                self._found,
                len(runner.val_dataloader.dataset),
                self._metric.collect_device,
                self._metric.collect_dir,
            )
            if is_main_process():
                self._write(runner, found)
        except Exception as error:
            _warn(runner, error)

    def _write(self, runner: Runner, found: list[dict]) -> None:
        # Here and not above: drawing is loaded only where there is something to draw.
        from convnext_mm.evaluation.report.page import NAME, write_report

        path = Path(runner.work_dir) / NAME
        write_report(runner.cfg, found, path, self._evaluated, self.name, split='val')
        Console().print(f'written: {path}', highlight=False, soft_wrap=True)


def _warn(runner: Runner, error: Exception) -> None:
    """Say why there is no report, for want of which a training must not fail."""
    if isinstance(error, UserError):
        runner.logger.warning(f'no report: {error}')
    else:
        reason = f'{type(error).__name__}: {error}'
        runner.logger.warning(f'no report, for {reason}', exc_info=error)
