"""Print before a run what will happen: data, model, schedule, device and folders."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sized
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from convnext_mm.config.batch_size import global_batch_size
from convnext_mm.config.nodes import as_list, leaf_datasets, type_name
from convnext_mm.datasets.labels import classes_of, single_datasets
from convnext_mm.engine.hooks.unwrap import unwrap
from convnext_mm.messages.log import log_once
from convnext_mm.messages.wording import counted, listed
from convnext_mm.recipes import FOLDER

_WIDTH = 10  # of the column of names


class PlanHook(Hook):
    """Print some ten lines on the training or test that begins.

    The numbers come from the data sets, the model and the optimizer that were built, not from the
    config. Errors in settings are raised before, by hooks of a higher priority.

    Args:
        config: The name of the config to print.
    """

    priority = 'BELOW_NORMAL'  # after the checks, before the progress bar

    def __init__(self, config: str) -> None:
        self.config = config

    @master_only
    def before_train(self, runner: Runner) -> None:
        lines = {
            'config': self.config,
            'data': _training_data(runner),
            'model': _model(runner.cfg, unwrap(runner.model)),
            'weights': _weights(runner),
            'schedule': _schedule(runner),
            'optimizer': _optimizer(runner),
            'device': _device(unwrap(runner.model)),
            'results': runner.work_dir,
            'log': runner.logger.log_file,
        }
        _print('training', lines)

    @master_only
    def before_test(self, runner: Runner) -> None:
        lines = {
            'config': self.config,
            'data': _data(runner.cfg, 'test_dataloader', runner.test_dataloader),
            'model': _model(runner.cfg, unwrap(runner.model)),
            'weights': runner.cfg.load_from,
            'device': _device(unwrap(runner.model)),
            'log': runner.logger.log_file,
        }
        _print('testing', lines)


def _print(title: str, lines: dict[str, str]) -> None:
    log_once('\n'.join([title, *(f'  {name:<{_WIDTH}} {text}' for name, text in lines.items())]))


def _training_data(runner: Runner) -> str:
    text = _data(runner.cfg, 'train_dataloader', runner.train_dataloader)
    if runner.val_loop is None:
        return text
    return f'{text}; {_images(runner.val_dataloader)} to evaluate on'


def _data(cfg: Config, key: str, loader: DataLoader) -> str:
    classes = classes_of(next(single_datasets(loader.dataset)))
    roots = {str(d.data_root) for d in leaf_datasets(cfg.get(key)) if d.get('data_root')}
    return (
        _images(loader)
        + (f' in {listed(sorted(roots))}' if roots else '')
        + (f', {counted(len(classes), "class")} ({listed(classes)})' if classes else '')
    )


def _images(loader: DataLoader) -> str:
    sized = isinstance(loader.dataset, Sized)
    return counted(len(loader.dataset), 'image') if sized else 'images'


def _model(cfg: Config, model: nn.Module) -> str:
    # Test-time augmentation wraps the model.
    inner = getattr(model, 'module', model)
    settings = cfg.model.get('module', cfg.model)
    backbone = settings.get('backbone') or {}
    name = type_name(backbone)
    arch = backbone.get('arch')
    arch = f' ({arch})' if isinstance(arch, str) else ''
    parameters = list(inner.parameters())
    total = sum(p.numel() for p in parameters)
    frozen = total - sum(p.numel() for p in parameters if p.requires_grad)
    return (
        type(inner).__name__
        + (f' with {name}{arch}' if name else '')
        + f', {total / 1e6:.1f}M parameters'
        + (f', {frozen / 1e6:.1f}M of them frozen' if frozen else '')
    )


def _weights(runner: Runner) -> str:
    cfg = runner.cfg
    if cfg.get('resume'):
        source = cfg.get('load_from') or 'the last checkpoint in the work dir'
        return f'{source}, resumed at iteration {runner.iter:,}'
    if cfg.get('load_from'):
        return str(cfg.load_from)
    found = list(_pretrained(cfg))
    return f'{listed(found)} in the backbone' if found else 'none, training starts from scratch'


def _pretrained(cfg: Config) -> Iterator[str]:
    """Yield the checkpoints that the backbone starts from."""
    backbone = cfg.model.get('backbone') or {}
    for init in as_list(backbone.get('init_cfg')):
        if init.get('checkpoint'):
            yield str(init['checkpoint'])
    # The older setting of MMDetection and MMSegmentation.
    for node in (cfg.model, backbone):
        if node.get('pretrained'):
            yield str(node['pretrained'])


def _schedule(runner: Runner) -> str:
    cfg = runner.cfg
    batches = cfg.optim_wrapper.get('accumulative_counts', 1)
    steps = counted(math.ceil(runner.max_iters / batches), 'step')
    by_epoch = 'max_epochs' in cfg.train_cfg
    length = f'{counted(runner.max_epochs, "epoch")}, ' if by_epoch else ''
    size = global_batch_size(cfg)
    if size:
        steps += f' of {counted(size, "image")}'
    if batches > 1:
        steps += f' ({batches} batches each)'
    if runner.val_loop is None:
        return f'{length}{steps}'
    interval, unit = runner.train_loop.val_interval, 'epoch' if by_epoch else 'iteration'
    every = f'{interval:,} {unit}s' if interval > 1 else unit
    return f'{length}{steps}; evaluation every {every}'


def _optimizer(runner: Runner) -> str:
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper):
        return type(wrapper).__name__
    optimizer = wrapper.optimizer
    rates = [group.get('initial_lr', group['lr']) for group in optimizer.param_groups]
    low, high = min(rates), max(rates)
    rate = f'{high:.3g}' if low == high else f'{low:.3g} to {high:.3g}'
    mixed = type(wrapper).__name__ == 'AmpOptimWrapper'
    precision = 'mixed precision' if mixed else 'fp32'
    return f'{type(optimizer).__name__}, learning rate {rate}, {precision}'


def _device(model: nn.Module) -> str:
    device = next(model.parameters()).device
    if device.type == 'cuda':
        text = torch.cuda.get_device_name(device)
    else:
        threads = counted(torch.get_num_threads(), 'thread')
        text = f'CPU, {threads} on {counted(len(os.sched_getaffinity(0)), "core")}'
    processes = get_world_size()
    return text + (f', {processes} processes' if processes > 1 else '')


def config_name(cfg: Config) -> str:
    """Return the name of a recipe, or the file of a config, relative to here if it lies below."""
    if not cfg.filename:
        return 'from Python'
    path = Path(cfg.filename)
    if path.is_relative_to(FOLDER):
        return path.relative_to(FOLDER).with_suffix('').as_posix()
    below = path.is_absolute() and path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd()) if below else path)
