"""A hook that checks the schedule against the learning rates of the optimizer."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from convnext_mm.config.schedule_checks import flattened_decay, floors
from convnext_mm.messages.findings import as_text


class FlattenedDecayHook(Hook):
    """Log the findings of :func:`flattened_decay` before a training.

    Only the optimizer knows the learning rate of each parameter group, so this check cannot run
    before it is built.
    """

    def before_train(self, runner: Runner) -> None:
        floor = next(floors(runner.cfg), None)
        if floor is None or not isinstance(runner.optim_wrapper, OptimWrapper):
            return
        groups = runner.optim_wrapper.optimizer.param_groups
        rates = [(g.get('initial_lr', g['lr']), floor[2]) for g in groups]
        for finding in flattened_decay(runner.cfg, rates):
            runner.logger.warning(as_text([finding]))
