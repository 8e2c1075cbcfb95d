"""MMEngine hooks that show a run: a progress bar, and at its end table, curves and pictures."""

from __future__ import annotations

import logging
import sys

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tqdm import tqdm

from convnext_mm.evaluation.table import headline


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


def _console_handler(logger: MMLogger) -> logging.Handler:
    """MMEngine's handler that prints; the others write files."""
    return next(h for h in logger.handlers if type(h) is logging.StreamHandler)
