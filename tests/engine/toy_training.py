"""A training of a second with all that resuming must restore, in this process or as a script.

    python toy_training.py WORK_DIR [--resume] [--by-epoch] [--launcher pytorch] [--slow SECONDS]
        [--signal-in-evaluation]

It prints a digest of the parameters, the optimizer's state and the moving averages at its end.
"""

import argparse
import contextlib
import hashlib
import io
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset

import convnext_mm
import convnext_mm.engine.hooks.checkpoint  # noqa: F401
from convnext_mm.engine.checkpoints import newest_whole
from convnext_mm.engine.runner import Runner
from convnext_mm.errors import UserError


class QuickRunner(Runner):
    """A Runner that does not ask compilers for their versions, which takes seconds."""

    def _log_env(self, env_cfg):
        pass


@DATASETS.register_module()
class NoisyPoints(Dataset):
    """Samples that three random generators augment."""

    metainfo = dict(classes=('a',))

    def __init__(self, length=12, slow=0.0):
        self.length = length
        self.slow = slow

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(self.slow)
        noise = [random.random(), np.random.rand(), torch.rand(()).item()]
        return dict(inputs=torch.tensor([float(index), *noise]))


@MODELS.register_module()
class NoisyModel(BaseModel):
    """Linear, BN and dropout, which draws from the process's generator."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 1)
        )

    def forward(self, inputs, mode='tensor'):
        out = self.layers(torch.stack(inputs))
        if mode != 'loss':
            return list(out)
        return dict(loss=(out**2).mean() * (1 + random.random() + np.random.rand()))


@METRICS.register_module()
class MeanOutput(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [value.item() for value in data_samples]

    def compute_metrics(self, results):
        np.random.rand()  # An evaluation must not change what the training draws.
        return dict(mean=float(np.mean(results)))


class Killed(Exception):
    """Ends a run at once, as a power cut does."""


@HOOKS.register_module()
class KillHook(Hook):
    """End the run after an iteration and its checkpoint; record all losses and metrics."""

    priority = 'LOWEST'

    def __init__(self, after=None, log=None):
        self.after, self.log = after, log

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.log[runner.iter] = outputs['loss'].item()
        if runner.iter + 1 == self.after:
            raise Killed

    def after_val_epoch(self, runner, metrics=None):
        self.log[f'val {runner.iter}'] = metrics['mean']


class SignalInEvaluation(Hook):
    """Send SIGTERM to the last process in its first evaluation."""

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if get_rank() == get_world_size() - 1 and runner.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def config(work_dir, by_epoch=True, workers=0, accumulate=1, slow=0.0, launcher='none'):
    """Return the settings of a Runner: 18 iterations with evaluations, EMA and a schedule."""
    loader = dict(
        batch_size=2,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=dict(type='NoisyPoints', slow=slow),
        sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
    )
    length = dict(max_epochs=3, val_interval=1) if by_epoch else dict(max_iters=18, val_interval=4)
    sampler = dict(type='DefaultSampler', shuffle=False)
    return dict(
        model=dict(type='NoisyModel'),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=dict(loader, sampler=sampler, num_workers=0, persistent_workers=False),
        val_evaluator=dict(type='MeanOutput'),
        val_cfg=dict(),
        train_cfg=dict(by_epoch=by_epoch, **length),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01), accumulative_counts=accumulate),
        param_scheduler=dict(type='PolyLR', end=18, by_epoch=False),
        default_hooks=dict(
            checkpoint=dict(
                type='ReliableCheckpointHook',
                interval=accumulate,
                by_epoch=False,
                max_keep_ckpts=2,
                minutes=0,
            ),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[dict(type='EMAHook')],
        default_scope='mmengine',
        log_level='ERROR',
        launcher=launcher,
    )


def run(cfg, log=None, kill_after=None, resume=False, hooks=()):
    """Train to the end, or up to `kill_after`; return the Runner."""
    seed = None if resume else 5  # A resumed run takes the seed of the checkpoint.
    cfg = dict(cfg, randomness=dict(seed=seed), experiment_name=f'run{time.monotonic_ns()}')
    if resume:
        path, skipped = newest_whole(Path(cfg['work_dir']))
        assert not skipped
        if path:
            cfg.update(resume=True, load_from=str(path))
        else:
            cfg.update(randomness=dict(seed=5))
    runner = QuickRunner.from_cfg(Config(cfg))
    runner.register_hook(KillHook(kill_after, {} if log is None else log))
    for hook in hooks:
        runner.register_hook(hook)
    with contextlib.suppress(Killed):
        runner.train()
    return runner


def end_of(runner):
    """Return all that a training leaves."""
    ema = next(hook for hook in runner.hooks if hasattr(hook, 'ema_model'))
    return dict(
        model=runner.model.state_dict(),
        optimizer=runner.optim_wrapper.state_dict(),
        ema=ema.ema_model.state_dict(),
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('work_dir')
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--by-epoch', action='store_true')
    parser.add_argument('--signal-in-evaluation', action='store_true')
    parser.add_argument('--launcher', default='none')
    parser.add_argument('--slow', type=float, default=0.0)
    args = parser.parse_args()
    if args.launcher != 'none':
        torch.distributed.init_process_group('gloo')
    cfg = config(args.work_dir, args.by_epoch, slow=args.slow, launcher=args.launcher)
    if args.launcher != 'none':
        cfg['model_wrapper_cfg'] = dict(type='MMDistributedDataParallel', device_ids=None)
    try:
        hooks = [SignalInEvaluation()] if args.signal_in_evaluation else []
        runner = run(cfg, resume=args.resume, hooks=hooks)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr, flush=True)
        return error.exit_code
    finally:
        if args.launcher != 'none':
            torch.distributed.destroy_process_group()
    file = io.BytesIO()
    torch.save(end_of(runner), file)
    if os.environ.get('RANK', '0') == '0':
        print('end', hashlib.sha256(file.getvalue()).hexdigest())
    return 0


if __name__ == '__main__':
    sys.exit(main())
