#!/usr/bin/env python
"""Time and memory of ConvNeXt backbones, ours and others', in one run: benchmarks/backbone.py

Contenders take turns, so that a busy machine is busy for all of them. Times are medians; the spread
is the middle half's, over the median. Memory is what autograd keeps for the backward pass, without
parameters, each storage once; on a GPU the peak of a training step as well.
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
    """What is measured: images of N x 3 x H x W, in training or not, in a type."""

    name: str
    shape: tuple[int, int, int]
    training: bool
    dtype: torch.dtype | None  # of autocast

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
    """Seconds of every repeat, by contender."""
    n, height, width = task.shape
    images = torch.randn(n, 3, height, width, device=device)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, model in models.items():
            model.train(task.training)
            torch.manual_seed(turn)  # the same draws, at least in number, for all
            synchronise(device)
            start = time.perf_counter()
            task.run(model, images)
            synchronise(device)
            if turn:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def synchronise(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def kept_bytes(task: Task, model: nn.Module, device: str) -> int:
    """Bytes autograd keeps of one forward pass, parameters left out, no sample dropped."""
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
    """Set the drop rates of every project's layer for it, and return what they were."""
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
    parser.add_argument('--only', nargs='+', metavar='NAME', help='contenders whose name has one')
    parser.add_argument('--json', type=Path, help='write the figures here')
    args = parser.parse_args()
    train = args.train or ((2, 800, 1344) if args.device == 'cuda' else (2, 512, 512))

    makers, missing = contenders(args.arch)
    for name, reason in missing.items():
        print(f'left out: {name} ({reason.partition(chr(10))[0]})')
    if args.only:
        wanted = (BASELINE, *args.only)
        makers = {n: m for n, m in makers.items() if any(w in n for w in wanted)}
    models = {name: make().to(args.device) for name, make in makers.items()}
    result = dict(machine=machine(args.device), arch=args.arch, repeats=args.repeats, tasks={})
    print(f'ConvNeXt-{args.arch}, {result["machine"]}, {args.repeats} repeats, drop path 0.4')
    for task in tasks(train, args.test, half=args.device == 'cuda'):
        seconds = measure(task, models, args.repeats, args.device)
        rows = {name: row(times) for name, times in seconds.items()}
        if task.training:
            for name, model in models.items():
                rows[name]['kept_bytes'] = kept_bytes(task, model, args.device)
                if args.device == 'cuda':
                    rows[name]['peak_bytes'] = peak_bytes(task, model)
        result['tasks'][task.name] = rows
        print(table(task, rows), flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return 0


def row(times: list[float]) -> dict:
    quarters = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
    median = statistics.median(times)
    return dict(seconds=median, spread=(quarters[2] - quarters[0]) / median)


def table(task: Task, rows: dict[str, dict]) -> str:
    """Markdown."""
    base = rows[BASELINE]
    shape = 'x'.join(map(str, task.shape))
    memory = [key for key in ('kept_bytes', 'peak_bytes') if key in base]
    titles = [f'{key.partition("_")[0]} MB' for key in memory]
    header = ['', 'seconds', 'spread', 'speed', *(part for t in titles for part in (t, 'of it'))]
    lines = [f'\n**{task.name}, {shape}**\n', f'| {" | ".join(header)} |']
    lines.append('|---|' + '--:|' * (len(header) - 1))
    for name, found in rows.items():
        cells = [name, f'{found["seconds"]:.4f}', f'{found["spread"]:.0%}']
        cells.append(f'{base["seconds"] / found["seconds"]:.2f}x')
        for key in memory:
            cells += [f'{found[key] / 1e6:.0f}', f'{found[key] / base[key]:.2f}x']
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
