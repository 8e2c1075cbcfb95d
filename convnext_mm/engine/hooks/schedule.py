"""A hook that checks the schedule against the optimizer and the length of the training."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from convnext_mm.config.schedule_checks import flattened_decay, floors, schedule_of_another_run
from convnext_mm.messages.findings import as_text


class ScheduleHook(Hook):
    """Log the findings of two checks before a training.

    Only the optimizer knows the learning rate of each parameter group, and only the data loader
    knows the number of iterations in an epoch. So the checks cannot run before they are built.
    """

    def before_train(self, runner: Runner) -> None:
        findings = [*schedule_of_another_run(runner.cfg, runner.max_iters)]
        floor = next(floors(runner.cfg), None)
        if floor is not None and isinstance(runner.optim_wrapper, OptimWrapper):
            groups = runner.optim_wrapper.optimizer.param_groups
            rates = [(g.get('initial_lr', g['lr']), floor[2]) for g in groups]
            findings += flattened_decay(runner.cfg, rates)
        for finding in findings:
            runner.logger.warning(as_text([finding]))
