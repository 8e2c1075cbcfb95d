"""A hook that checks the schedule with the learning rates of the optimizer."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from convnext_mm.config.schedule_checks import flattened, floors


class FlattenedDecayHook(Hook):
    """Says before a training what :func:`flattened` finds, by the rates of the optimizer."""

    def before_train(self, runner: Runner) -> None:
        floor = next(floors(runner.cfg), None)
        if floor is None or not isinstance(runner.optim_wrapper, OptimWrapper):
            return
        groups = runner.optim_wrapper.optimizer.param_groups
        rates = [(g.get('initial_lr', g['lr']), floor[1].eta_min) for g in groups]
        for warning in flattened(runner.cfg, rates):
            runner.logger.warning(warning)
