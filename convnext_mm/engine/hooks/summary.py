"""A hook that shows the results when a training ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from rich.console import Console

from convnext_mm.evaluation.table import metrics_table
from convnext_mm.evaluation.training_log import plot_curves
from convnext_mm.visualization.samples import write_prediction_sheet


@HOOKS.register_module()
class SummaryHook(Hook):
    """At the end of training: a table of the last metrics, curves, and predictions to look at.

    Into the work dir go ``curves.png`` (loss, learning rate, metrics over the iterations) and
    ``predictions.png`` (ground truth above, prediction below, of the last evaluation).

    Args:
        num_pictures: Validation images drawn, the first ones.
        score_thr: Predictions below this score are not drawn.
    """

    priority = 'VERY_LOW'

    def __init__(self, num_pictures: int = 8, score_thr: float = 0.5) -> None:
        self.num_pictures = num_pictures
        self.score_thr = score_thr
        self._samples: list[BaseDataElement] = []
        self._metrics: dict[str, float] = {}
        self._started = 0.0

    def before_train(self, runner: Runner) -> None:
        self._started = time.monotonic()

    def before_val_epoch(self, runner: Runner) -> None:
        self._samples.clear()

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None, outputs: Sequence
    ) -> None:
        room = self.num_pictures - len(self._samples)
        if is_main_process() and room > 0:
            self._samples += [sample.detach().cpu() for sample in outputs[:room]]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._metrics = dict(metrics or {})

    @master_only
    def after_train(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        drawings = {'curves.png': lambda path: plot_curves(folder, path)}
        if self._samples:
            meta = runner.val_dataloader.dataset.metainfo
            drawings['predictions.png'] = lambda path: write_prediction_sheet(
                self._samples, meta, self.score_thr, path
            )
        written = []
        for name, draw in drawings.items():
            try:
                draw(folder / name)
            except OSError as error:  # a finished training must not fail for want of a picture
                runner.logger.warning(f'{name} is not drawn: {error}')
            else:
                written.append(folder / name)
        console = Console()
        if self._metrics:
            minutes = (time.monotonic() - self._started) / 60
            title = f'{runner.experiment_name.rsplit("_", 2)[0]}: {minutes:.1f} minutes'
            console.print(metrics_table(self._metrics, title))
        for path in written:
            console.print(f'written: {path}', highlight=False, soft_wrap=True)
