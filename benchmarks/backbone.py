#!/usr/bin/env python
"""Measure time and memory of our ConvNeXt backbone and of others: benchmarks/backbone.py

The contenders take turns, so that other load on the machine slows all of them. Columns:

- seconds: the median time.
- host (GPU only): the median time until all kernels are launched. If it is close to `seconds`, the
  GPU waits for the host.
- spread: the interquartile range over the median.
- kept MB: the bytes that autograd keeps for the backward pass, without parameters.
- peak MB (GPU only): the peak memory of a training step.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from contenders import contenders
from torch import nn

BASELINE = 'official'


@dataclass(frozen=True)
class Task:
    """A measurement: images of shape (N, 3, H, W), training or inference, a dtype."""

    name: str
    shape: tuple[int, int, int]
    training: bool
    dtype: torch.dtype | None  # for autocast; None: fp32

    def run(self, model: nn.Module, images: torch.Tensor) -> None:
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None):
            if not self.training:
                with torch.no_grad():
                    model(images)
                return
            loss = sum(out.float().mean() for out in model(images))
        loss.backward()
        for parameter in model.parameters():
            parameter.grad = None


def tasks(train: tuple[int, int, int], test: tuple[int, int, int], half: bool) -> list[Task]:
    found = []
    for name, dtype in (('fp32', None), ('bf16 autocast', torch.bfloat16)):
        if not half or dtype:
            found.append(Task(f'training step, {name}', train, True, dtype))
            found.append(Task(f'inference, {name}', test, False, dtype))
    return found


def measure(task: Task, models: dict[str, nn.Module], repeats: int, device: str) -> dict:
    """Return (seconds, seconds until all was launched) of every repeat of each contender."""
    n, height, width = task.shape
    images = torch.randn(n, 3, height, width, device=device)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, model in models.items():
            model.train(task.training)
            torch.manual_seed(turn)  # about the same number of dropped samples for all
            synchronise(device)
            start = time.perf_counter()
            task.run(model, images)
            launched = time.perf_counter() - start
            synchronise(device)
            if turn:  # the first is a warm-up
                seconds[name].append((time.perf_counter() - start, launched))
    return seconds


def synchronise(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def kept_bytes(task: Task, model: nn.Module, device: str) -> int:
    """Return the bytes that autograd keeps of a forward pass without stochastic depth."""
    n, height, width = task.shape
    images = torch.randn(n, 3, height, width, device=device)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    rates = _set_drop_path(model, 0.0)
    model.train()
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast(device, task.dtype, enabled=task.dtype is not None),
    ):
        outs = model(images)
    total = sum(storages.values())
    del outs
    _set_drop_path(model, rates)
    return total


def _set_drop_path(model: nn.Module, rates: float | dict) -> dict:
    """Set the stochastic depth rates of all layers, and return the previous rates."""
    before = {}
    for name, module in model.named_modules():
        for attribute in ('drop_path_rate', 'drop_prob', 'rate', 'p'):
            value = getattr(module, attribute, None)
            if isinstance(value, float) and not isinstance(module, nn.Dropout):
                before[name, attribute] = value
                new = rates if isinstance(rates, float) else rates.get((name, attribute), value)
                setattr(module, attribute, new)
    return before


def peak_bytes(task: Task, model: nn.Module) -> int:
    torch.cuda.reset_peak_memory_stats()
    n, height, width = task.shape
    task.run(model.train(), torch.randn(n, 3, height, width, device='cuda'))
    return torch.cuda.max_memory_allocated()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--arch', default='tiny')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument(
        '--train', type=size, default=None, help='NxHxW (2x512x512; GPU 2x800x1344)'
    )
    parser.add_argument('--test', type=size, default=(1, 800, 1344), help='NxHxW (1x800x1344)')
    parser.add_argument(
        '--only', nargs='+', metavar='NAME', help='contenders whose name contains one of these'
    )
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    parser.add_argument(
        '--compiled',
        action='store_true',
        help='also measure with torch.compile, which takes minutes',
    )
    parser.add_argument(
        '--shares',
        action='store_true',
        help='only print the shares of our time on a CPU by kind of operation',
    )
    args = parser.parse_args()
    train = args.train or ((2, 800, 1344) if args.device == 'cuda' else (2, 512, 512))

    makers, missing = contenders(args.arch, 'inductor' if args.compiled else None)
    for name, reason in missing.items():
        print(f'left out: {name} ({reason.partition(chr(10))[0]})')
    if args.only:
        wanted = (BASELINE, *args.only)
        makers = {n: m for n, m in makers.items() if any(w in n for w in wanted)}
    if args.shares:
        for task in tasks(train, args.test, half=False):
            print(f'{task.name}: {shares(task, makers["ours, pointwise"]())}')
        return 0
    models = {name: make().to(args.device) for name, make in makers.items()}
    result = dict(machine=machine(args.device), arch=args.arch, repeats=args.repeats, tasks={})
    print(f'ConvNeXt-{args.arch}, {result["machine"]}, {args.repeats} repeats, drop path 0.4')
    for task in tasks(train, args.test, half=args.device == 'cuda'):
        seconds = measure(task, models, args.repeats, args.device)
        rows = {name: row(times, args.device) for name, times in seconds.items()}
        if task.training:
            for name, model in models.items():
                if 'compiled' in name:  # saved tensor hooks do not see inside a compiled graph
                    continue
                rows[name]['kept_bytes'] = kept_bytes(task, model, args.device)
                if args.device == 'cuda':
                    rows[name]['peak_bytes'] = peak_bytes(task, model)
        result['tasks'][task.name] = rows
        print(table(task, rows), flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return 0


def row(times: list[tuple[float, float]], device: str) -> dict:
    wholes, launched = zip(*times)
    quarters = statistics.quantiles(wholes, n=4) if len(wholes) > 1 else [wholes[0]] * 3
    median = statistics.median(wholes)
    found = dict(seconds=median, spread=(quarters[2] - quarters[0]) / median)
    return dict(found, host=statistics.median(launched)) if device == 'cuda' else found


def shares(task: Task, model: nn.Module) -> str:
    """Return the shares of CPU time of matrix products, convolutions and the rest."""
    n, height, width = task.shape
    images = torch.randn(n, 3, height, width)
    model.train(task.training)
    task.run(model, images)
    with torch.profiler.profile() as profile:
        task.run(model, images)
    times = dict.fromkeys(('products', 'convolutions', 'the rest'), 0.0)
    for event in profile.key_averages():
        kind = 'the rest'
        if any(word in event.key for word in ('mm', 'linear')):
            kind = 'products'
        elif 'conv' in event.key:
            kind = 'convolutions'
        times[kind] += event.self_cpu_time_total
    total = sum(times.values())
    parts = [f'{kind} {time / total:.0%}' for kind, time in times.items()]
    return ', '.join([*parts, f'all {total / times["products"]:.2f}x of the products'])


def table(task: Task, rows: dict[str, dict]) -> str:
    """Return a Markdown table."""
    base = rows[BASELINE]
    shape = 'x'.join(map(str, task.shape))
    memory = [key for key in ('kept_bytes', 'peak_bytes') if key in base]
    titles = [f'{key.partition("_")[0]} MB' for key in memory]
    host = ['host'] if 'host' in base else []
    titles = [part for title in titles for part in (title, 'of it')]
    header = ['', 'seconds', *host, 'spread', 'speed', *titles]
    lines = [f'\n**{task.name}, {shape}**\n', f'| {" | ".join(header)} |']
    lines.append('|---|' + '--:|' * (len(header) - 1))
    for name, found in rows.items():
        cells = [name, *(f'{found[key]:.4f}' for key in ('seconds', *host))]
        cells += [f'{found["spread"]:.0%}', f'{base["seconds"] / found["seconds"]:.2f}x']
        for key in memory:
            size = found.get(key)
            cells += [f'{size / 1e6:.0f}', f'{size / base[key]:.2f}x'] if size else ['', '']
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def machine(device: str) -> str:
    if device == 'cuda':
        chip = torch.cuda.get_device_name()
    else:
        info = Path('/proc/cpuinfo')
        lines = info.read_text().splitlines() if info.exists() else []
        names = [line.partition(': ')[2] for line in lines if line.startswith('model name')]
        names.append(platform.processor())
        chip = f'{names[0]}, {torch.get_num_threads()} threads'
    return f'{chip}, torch {torch.__version__}'


def size(text: str) -> tuple[int, int, int]:
    n, height, width = map(int, text.split('x'))
    return n, height, width


if __name__ == '__main__':
    sys.exit(main())
