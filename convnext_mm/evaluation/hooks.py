"""MMEngine hooks that show a run: a progress bar, and at its end table, curves and pictures."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from rich.console import Console
from tqdm import tqdm

from convnext_mm.evaluation.curves import plot_curves
from convnext_mm.evaluation.pictures import Picture, contact_sheet
from convnext_mm.evaluation.table import headline, metrics_table


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """One updating line with iterations, loss and time left, in place of MMEngine's log lines.

    The log lines still go to the log file. Only the main process draws.
    """

    # After IterTimerHook and ParamSchedulerHook, so that what it shows is of this iteration.
    priority = 'LOW'

    @master_only
    def before_train(self, runner: Runner) -> None:
        self._console_level = _console_handler(runner.logger).level
        _console_handler(runner.logger).setLevel(logging.WARNING)
        self._bar = tqdm(
            total=runner.max_iters,
            initial=runner.iter,
            desc='training',
            unit='it',
            dynamic_ncols=True,
            # In a log file a line now and then is enough.
            mininterval=0.5 if sys.stderr.isatty() else 15.0,
        )

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None, outputs: dict | None
    ) -> None:
        self._bar.update()
        # Reading the loss waits for the device; a bar need not be that exact.
        if runner.iter % 10 == 0 and outputs and 'loss' in outputs:
            self._bar.set_postfix(loss=f'{outputs["loss"].item():.3f}', refresh=False)

    @master_only
    def before_val_epoch(self, runner: Runner) -> None:
        self._bar.set_description('evaluating')

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._bar.write(f'iteration {runner.iter}: {headline(metrics or {})}', file=sys.stderr)
        self._bar.set_description('training')

    @master_only
    def after_train(self, runner: Runner) -> None:
        self._bar.close()
        _console_handler(runner.logger).setLevel(self._console_level)


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
        self._pictures: list[Picture] = []
        self._metrics: dict[str, float] = {}
        self._started = 0.0

    def before_train(self, runner: Runner) -> None:
        self._started = time.monotonic()

    def before_val_epoch(self, runner: Runner) -> None:
        self._pictures.clear()

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None, outputs: Sequence
    ) -> None:
        room = self.num_pictures - len(self._pictures)
        if is_main_process() and room > 0:
            self._pictures += [Picture.of(sample) for sample in outputs[:room]]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._metrics = dict(metrics or {})

    @master_only
    def after_train(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        drawings = {'curves.png': lambda path: plot_curves(folder, path)}
        if self._pictures:
            meta = runner.val_dataloader.dataset.metainfo
            drawings['predictions.png'] = lambda path: contact_sheet(
                self._pictures, meta, self.score_thr, path
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


def _console_handler(logger: MMLogger) -> logging.Handler:
    """MMEngine's handler that prints; the others write files."""
    return next(h for h in logger.handlers if type(h) is logging.StreamHandler)
