"""A progress bar in place of MMEngine's log lines, which go to the log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence, Sized

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tqdm import tqdm

from convnext_mm.evaluation.table import headline

_LOSS_INTERVAL = 10  # iterations; reading the loss waits for the device
_REFRESH, _REFRESH_IN_FILE = 0.5, 15.0  # seconds


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Draw one line with iterations, time left, loss and GPU memory, in the main process only.

    The trainings and tests of :mod:`convnext_mm.engine` have it without being told.
    """

    # After IterTimerHook and ParamSchedulerHook.
    priority = 'LOW'

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    @master_only
    def before_train(self, runner: Runner) -> None:
        self._bar = _bar('training', runner.max_iters, runner.iter)

    @master_only
    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None, outputs: dict | None
    ) -> None:
        if runner.iter % _LOSS_INTERVAL == 0 and outputs and 'loss' in outputs:
            shown = dict(loss=f'{outputs["loss"].item():.3f}', **_memory())
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    @master_only
    def before_val_epoch(self, runner: Runner) -> None:
        self._bar.set_description('evaluating')
        self._drawn = time.monotonic()

    @master_only
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None, outputs: Sequence
    ) -> None:
        if time.monotonic() - self._drawn > self._bar.mininterval:
            batches = _length(runner.val_dataloader)
            of = f'/{batches}' if batches else ''
            self._bar.set_description(f'evaluating {batch_idx + 1}{of}')
            self._drawn = time.monotonic()

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._bar.write(f'iteration {runner.iter:,}: {headline(metrics or {})}', file=sys.stdout)
        self._bar.set_description('training')

    @master_only
    def after_train(self, runner: Runner) -> None:
        if self._bar is not None:  # A training can fail before its first step.
            self._bar.close()

    @master_only
    def before_test(self, runner: Runner) -> None:
        self._bar = _bar('testing', _length(runner.test_dataloader))

    @master_only
    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None, outputs: Sequence
    ) -> None:
        if memory := _memory():
            self._bar.set_postfix(memory, refresh=False)
        self._bar.update()

    @master_only
    def after_test(self, runner: Runner) -> None:
        self._bar.close()


def _bar(name: str, total: int | None, done: int = 0) -> tqdm:
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit='it',
        dynamic_ncols=True,
        mininterval=_REFRESH if sys.stderr.isatty() else _REFRESH_IN_FILE,
    )


def _length(loader: object) -> int | None:
    return len(loader) if isinstance(loader, Sized) else None


def _memory() -> dict[str, str]:
    """Return the peak of the GPU memory, if there is a GPU."""
    if not torch.cuda.is_available():
        return {}
    return dict(memory=f'{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB')
