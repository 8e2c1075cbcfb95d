"""Show the results when a training or test ends: a table, and predictions as one picture."""

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

from convnext_mm.evaluation.table import TOP1, metrics_table
from convnext_mm.messages.log import log_once
from convnext_mm.visualization.samples import write_prediction_sheet

PREDICTIONS = 'predictions.png'


@HOOKS.register_module()
class SummaryHook(Hook):
    """Print the last metrics; after a training, write ``predictions.png`` into the work dir.

    It shows validation images of the last evaluation with ground truth above and prediction below.
    The trainings and tests of :mod:`convnext_mm.engine` have this hook without being told.

    Args:
        num_pictures: The number of validation images, from the first on.
        score_thr: Predictions below this score are not drawn.
    """

    priority = 'VERY_LOW'

    def __init__(self, num_pictures: int = 8, score_thr: float = 0.5) -> None:
        self.num_pictures = num_pictures
        self.score_thr = score_thr
        self.metrics: dict[str, float] = {}
        self._samples: list[BaseDataElement] = []
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
            # Models of other packages may predict something without an image.
            drawable = [sample for sample in outputs[:room] if hasattr(sample, 'img_path')]
            self._samples += [sample.detach().cpu() for sample in drawable]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.metrics = dict(metrics or {})

    @master_only
    def after_train(self, runner: Runner) -> None:
        self._print_table(runner)
        if checkpoint := last_checkpoint(runner.work_dir):
            log_once(f'written: {checkpoint}')
        if self._samples:
            self._draw(runner, Path(runner.work_dir, PREDICTIONS))

    before_test = before_train
    after_test_epoch = after_val_epoch

    @master_only
    def after_test(self, runner: Runner) -> None:
        self._print_table(runner)

    def _print_table(self, runner: Runner) -> None:
        if self.metrics:
            minutes = (time.monotonic() - self._started) / 60
            title = f'{runner.experiment_name.rsplit("_", 2)[0]}: {minutes:.1f} minutes'
            # A recipe for ImageNet states the published accuracy.
            top1 = (runner.cfg.get('published') or {}).get('top1')
            published = {TOP1: top1} if top1 else {}
            Console().print(metrics_table(self.metrics, title, published))

    def _draw(self, runner: Runner, path: Path) -> None:
        try:
            meta = runner.val_dataloader.dataset.metainfo
            write_prediction_sheet(self._samples, meta, self.score_thr, path)
        except Exception as error:  # without a picture, the training has still ended well
            reason = error if isinstance(error, OSError) else f'{type(error).__name__}: {error}'
            runner.logger.warning(f'no {path.name}: {reason}')
        else:
            log_once(f'written: {path}')


def last_checkpoint(work_dir: str | Path) -> Path | None:
    """Return the last checkpoint that MMEngine wrote into a work dir, if it is there."""
    pointer = Path(work_dir, 'last_checkpoint')
    path = Path(pointer.read_text().strip()) if pointer.is_file() else None
    return path if path and path.exists() else None
