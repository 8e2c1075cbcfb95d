"""Train a detector, segmentor or classifier."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, get_world_size

from convnext_mm.config import batch_size
from convnext_mm.config.building import naming_the_part
from convnext_mm.config.disk import check_disk_space
from convnext_mm.config.nodes import type_name
from convnext_mm.config.schedule_checks import cut_off_schedule, erased_decay, late_hooks
from convnext_mm.datasets.files import check_data
from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.engine.checkpoints import damage, newest_whole
from convnext_mm.engine.hooks.checkpoint import ReliableCheckpointHook
from convnext_mm.engine.hooks.finite_loss import FiniteLossHook
from convnext_mm.engine.hooks.progress import ProgressBarHook
from convnext_mm.engine.hooks.report import ReportHook
from convnext_mm.engine.hooks.schedule import ScheduleHook
from convnext_mm.engine.hooks.summary import SummaryHook, last_checkpoint
from convnext_mm.engine.runner import Runner
from convnext_mm.engine.setup import (
    build_runner,
    distribute_without_gpu,
    fetch_weights,
    read_config,
    tell,
)
from convnext_mm.engine.terminal import Terminal
from convnext_mm.errors import StoppedError, UserError
from convnext_mm.messages.log import log_once
from convnext_mm.weights.files import local_file

_NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
_RELIABLE = 'convnext_mm.engine.hooks.checkpoint.ReliableCheckpointHook'


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        work_dir: The folder with its logs and results.
        metrics: The metrics of the last evaluation; empty without one.
        checkpoint: The last checkpoint, if one was written.
        runner: MMEngine's Runner with the trained model, ``runner.model``.
    """

    work_dir: Path
    metrics: dict[str, float]
    checkpoint: Path | None
    runner: Runner


def train(
    config: str | Path | Config,
    *,
    data: str | Path | None = None,
    work_dir: str | Path | None = None,
    options: Mapping[str, object] | None = None,
    accumulate: bool = False,
    auto_scale_lr: bool = False,
    amp: bool = False,
    resume: bool | str | Path = False,
    resume_anyway: bool = False,
    checkpoint_minutes: float = 15,
    launcher: str = 'none',
    report: bool = True,
    verbose: bool = False,
) -> Training:
    """Train a detector, segmentor or classifier, and evaluate it on the way as the config says.

    Args:
        config: A config file of MMDetection, MMSegmentation or MMPretrain, or a config, which
            is not changed.
        data: A data set of your own to train on: a folder, or a COCO JSON. The config is adapted
            to it and written into the work dir.
        work_dir: The folder for logs and results; by default the ``work_dir`` of the config, or
            ``work_dirs/<config name>``.
        options: Settings of the config to override, by dotted name.
        accumulate: Keep the batch size of the recipe on fewer GPUs by accumulating gradients.
        auto_scale_lr: Scale the learning rate in proportion to the batch size.
        amp: Train in mixed precision.
        resume: Resume from the newest whole checkpoint in the work dir (True), or from this file.
            The result is the same as without the break.
        resume_anyway: Resume also with other classes, another batch size, or another number of
            processes or samples. Warnings name the consequences. The checkpoint of another model or
            with other optimizer settings is still refused.
        checkpoint_minutes: Write a checkpoint when so many minutes have passed since the last one,
            beside the checkpoints of the config; 0 for none.
        launcher: How the processes were started: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        report: Write ``report.html`` of the last evaluation into the work dir.
        verbose: Print the whole log, as MMEngine does.

    Raises:
        UserError: A setting, the data or the weights are wrong. The message says what to do.
        StoppedError: A signal (SIGTERM, SIGINT or SIGUSR1) stopped the training after a checkpoint.
        DivergedError: The loss is NaN or infinite.
        CheckpointWriteError: A checkpoint cannot be written, as on a full disk.
    """
    if accumulate and auto_scale_lr:
        raise UserError('accumulate and auto_scale_lr exclude each other: choose one')
    if resume_anyway and not resume:
        raise UserError('--resume-anyway changes only --resume: give both')
    if not checkpoint_minutes >= 0:  # NaN is not
        raise UserError(f'checkpoint_minutes={checkpoint_minutes} must be 0, for never, or more')
    with Terminal(verbose) as terminal:
        cfg = read_config(config, options, work_dir, launcher, needed=_NEEDED)
        if data is not None:
            cfg = adapt_to_own_data(cfg, data, options or (), accumulate=accumulate)
        tell(erased_decay(cfg))
        tell(late_hooks(cfg))
        tell(cut_off_schedule(cfg))  # before accumulate, which changes the numbers in its advice
        if amp:
            cfg = use_mixed_precision(cfg)
        if accumulate:
            cfg = batch_size.accumulate(cfg)
        elif auto_scale_lr:
            cfg = batch_size.scale_lr(cfg)
        else:
            tell(batch_size.check_batch_size(cfg))
        if resume:
            cfg = resume_from(cfg, resume)
        check_data(cfg, ('train_dataloader', 'val_dataloader'))
        cfg = train_in_fp32_without_gpu(cfg)
        cfg = write_checkpoints_reliably(cfg, checkpoint_minutes)
        with naming_the_part(cfg):
            tell(check_disk_space(cfg, cfg.work_dir))
        cfg = distribute_without_gpu(cfg)
        cfg, content = fetch_weights(cfg)
        runner = build_runner(cfg, terminal, content)
        runner.resume_anyway = resume_anyway
        runner.register_hook(ScheduleHook())
        runner.register_hook(FiniteLossHook())
        if report:
            runner.register_hook(ReportHook(Path(cfg.filename or 'config.py').name))
        _run(runner)
        summary = next(hook for hook in runner.hooks if isinstance(hook, SummaryHook))
        folder = Path(cfg.work_dir)
        return Training(folder, summary.metrics, last_checkpoint(folder), runner)


def use_mixed_precision(cfg: Config) -> Config:
    """Train in mixed precision."""
    cfg = copy.deepcopy(cfg)
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    return cfg


def train_in_fp32_without_gpu(cfg: Config) -> Config:
    """Replace mixed precision by fp32 if there is no GPU."""
    if type_name(cfg.optim_wrapper) != 'AmpOptimWrapper' or torch.cuda.is_available():
        return cfg
    log_once('no GPU: training in fp32 instead of mixed precision')
    cfg = copy.deepcopy(cfg)
    cfg.optim_wrapper.type = 'OptimWrapper'
    for key in ('loss_scale', 'dtype'):
        cfg.optim_wrapper.pop(key, None)
    return cfg


def write_checkpoints_reliably(cfg: Config, minutes: float) -> Config:
    """Replace MMEngine's CheckpointHook by one that also writes by the clock and on a signal."""
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(dict(default_hooks=cfg.get('default_hooks') or {}))
    checkpoint = cfg.default_hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook'))
    if checkpoint and checkpoint.type in ('CheckpointHook', 'mmengine.CheckpointHook', _RELIABLE):
        checkpoint.update(type=_RELIABLE, minutes=minutes)
    return cfg


def resume_from(cfg: Config, checkpoint: bool | str | Path) -> Config:
    """Resume from a checkpoint, or from the newest whole one in the work dir (True).

    A training without a checkpoint starts from the beginning.

    Raises:
        UserError: The checkpoint is missing or damaged.
    """
    cfg = copy.deepcopy(cfg)
    if checkpoint is not True:
        path = local_file(checkpoint)
        if reason := damage(path):
            raise UserError(f'--resume {path}: {reason}')
    else:
        path, skipped = newest_whole(Path(cfg.work_dir))
        for line in skipped:
            log_once(f'not resumed from {line}', logging.WARNING)
    if path is None:  # With resume=True, MMEngine would ignore the weights of load_from as well.
        log_once(f'resume: no checkpoint in {cfg.work_dir}, so training starts from the beginning')
    else:
        cfg.resume, cfg.load_from = True, str(path)
    return cfg


def _run(runner: Runner) -> None:
    """Train; if the training ends early, close the bar and write the report nevertheless."""
    try:
        with naming_the_part(runner.cfg):
            runner.train()
    except BaseException as error:
        for hook in runner.hooks:
            if isinstance(hook, ReliableCheckpointHook):
                hook.restore_handlers()
            # The report needs all processes, and a failure may have ended only this one.
            elif isinstance(hook, ProgressBarHook) or (
                isinstance(hook, ReportHook)
                and (isinstance(error, StoppedError) or get_world_size() == 1)
            ):
                hook.after_train(runner)
        if isinstance(error, StoppedError):
            barrier()  # Launchers end all processes when one has ended: wait for the report.
        raise
