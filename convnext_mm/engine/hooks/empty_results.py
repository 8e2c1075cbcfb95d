"""Explain why a detector finds nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from convnext_mm.engine.hooks.unwrap import unwrap
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import counted, such_as


class EmptyResultsHook(Hook):
    """Log the reason if a detector finds no object in any image of an evaluation."""

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
                f'nothing was detected in {counted(len(found), "image")}: '
                f'{why_nothing(unwrap(runner.model), self._batch)}'
            )
        self._batch = None

    before_test_epoch = before_val_epoch
    after_test_iter = after_val_iter
    after_test_epoch = after_val_epoch


def why_nothing(model: nn.Module, batch: object) -> str:
    """Return the reason why a detector finds nothing in a batch.

    The function predicts on the batch again, with a score threshold of 0.

    Args:
        model: A detector of MMDetection.
        batch: A batch of its data loader.
    """
    broken = [name for name, p in model.named_parameters() if not p.isfinite().all()]
    if broken:
        return (
            f'{such_as(broken)} hold NaN or infinite values: the training diverged. Lower the '
            'learning rate, warm up longer, or train without mixed precision'
        )
    try:
        with _threshold_zero(model) as thresholds, torch.no_grad():
            outputs = model.test_step(batch)
    except RuntimeError as error:  # such as too little memory, which must not end a training
        return f'the reason is not known: a prediction with a score threshold of 0 failed ({error})'
    scores = [s.pred_instances.scores for s in outputs if len(s.pred_instances)]
    if not scores:
        return (
            'also with a score threshold of 0. The RPN proposes nothing, or all boxes are empty. '
            'Look at the training loss, and at the training images with '
            f'{command("browse")}'
        )
    if not thresholds:
        return 'the model has no score threshold. Look at its test_cfg'
    highest = max(s.max().item() for s in scores)
    return (
        f'the highest score in the last batch is {highest:.3f}, and the threshold (score_thr in '
        f'model.test_cfg) is {max(thresholds)}. Train longer, check that pretrained weights were '
        'loaded, or lower the threshold'
    )


@contextlib.contextmanager
def _threshold_zero(model: nn.Module) -> Iterator[list[float]]:
    """Set all score thresholds of a detector to 0 for a while; yield their values."""
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
