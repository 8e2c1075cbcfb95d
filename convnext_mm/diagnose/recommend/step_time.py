"""Time a few training steps of a config on this machine."""

from __future__ import annotations

import copy
import time

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from convnext_mm.config.nodes import dicts_below, type_name

STEPS = 3


def seconds_per_iteration(cfg: Config, steps: int = STEPS) -> float:
    """Return the seconds of a training iteration, with loading in this process.

    The model has random weights, for which the time is the same. Nothing is written.

    Args:
        cfg: A config whose data exists; it is not changed.
        steps: The number of iterations to time, after one that warms up.
    """
    cfg = copy.deepcopy(cfg)
    for node in dicts_below(cfg.model):
        node.pop('init_cfg', None)
    on_gpu = torch.cuda.is_available()
    if type_name(cfg.optim_wrapper) == 'AmpOptimWrapper' and not on_gpu:
        cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
        model = model.to('cuda' if on_gpu else 'cpu')
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
        batches = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
        start = 0.0
        for step in range(steps + 1):
            if step == 1:
                _finish(on_gpu)
                start = time.perf_counter()
            model.train_step(next(batches), optimizer)
        _finish(on_gpu)
    return (time.perf_counter() - start) / steps


def _finish(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()
