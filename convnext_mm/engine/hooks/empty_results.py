"""A hook that says why a detector finds nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from convnext_mm.engine.hooks.classes import _bare
from convnext_mm.messages.wording import such_as


class EmptyResultsHook(Hook):
    """Says why, when a detector finds nothing in all the images it is evaluated on."""

    def before_val_epoch(self, runner: Runner) -> None:
        self._found: list[int] = []
        self._batch: object = None

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: object, outputs: Sequence
    ) -> None:
        self._batch = data_batch
        self._found += [len(s.pred_instances) for s in outputs if 'pred_instances' in s]

    def after_val_epoch(self, runner: Runner, metrics: Mapping | None = None) -> None:
        found = [count for counts in all_gather_object(self._found) for count in counts]
        if found and not any(found):
            runner.logger.warning(
                f'nothing was detected in {len(found):,} images: '
                f'{why_nothing(_bare(runner.model), self._batch)}'
            )
        self._batch = None

    before_test_epoch = before_val_epoch
    after_test_iter = after_val_iter
    after_test_epoch = after_val_epoch


def why_nothing(model: nn.Module, batch: object) -> str:
    """The reason why a detector finds nothing in a batch, found by looking.

    Args:
        model: A detector of MMDetection.
        batch: As its data loader gives it.
    """
    broken = [name for name, p in model.named_parameters() if not p.isfinite().all()]
    if broken:
        return (
            f'{such_as(broken)} hold NaN or infinite values, so training diverged; lower the '
            'learning rate, warm up longer, or train without mixed precision'
        )
    try:
        with _threshold_zero(model) as thresholds, torch.no_grad():
            outputs = model.test_step(batch)
    except RuntimeError as error:  # such as for want of memory, which must not end a training
        return f'why cannot be said, for a look at all its boxes failed ({error})'
    scores = [s.pred_instances.scores for s in outputs if len(s.pred_instances)]
    if not scores:
        return (
            'nor is it at a score threshold of 0, so the RPN proposes nothing or all boxes are '
            'empty; look at the training loss and at the pictures it trains on'
        )
    if not thresholds:
        return 'the model has no score threshold; look at its test_cfg'
    highest = max(s.max().item() for s in scores)
    return (
        f'the highest score in the last batch is {highest:.3f}, and the '
        f'threshold (score_thr in model.test_cfg) is {max(thresholds)}; train longer, check that '
        'pretrained weights were loaded, or lower the threshold'
    )


@contextlib.contextmanager
def _threshold_zero(model: nn.Module) -> Iterator[list[float]]:
    """A detector that reports boxes of any score; gives the thresholds it had."""
    settings = {
        id(cfg): cfg
        for module in model.modules()
        if isinstance(getattr(module, 'test_cfg', None), dict)
        for cfg in (module.test_cfg, *module.test_cfg.values())
        if isinstance(cfg, dict) and 'score_thr' in cfg
    }
    before = [(cfg, cfg['score_thr']) for cfg in settings.values()]
    for cfg, _ in before:
        cfg['score_thr'] = 0.0
    try:
        yield [value for _, value in before]
    finally:
        for cfg, value in before:
            cfg['score_thr'] = value
