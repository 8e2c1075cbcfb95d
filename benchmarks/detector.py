#!/usr/bin/env python
"""Measure the parts of a detector's time with our backbone and another: benchmarks/detector.py

The detector is Mask R-CNN of configs/mask_rcnn/convnext_t_coco.py with its optimizer and
augmentation. It runs on rendered images of COCO's size with random weights; both detectors have the
same weights in neck and heads. Measured are the prediction of one image with 100 detections, and a
training step. The detectors take turns on the same batches, and the figures are medians. The
backward pass of the heads ends when the first gradient reaches the maps of the backbone.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch
from backbone import machine, synchronise
from contenders import contenders
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from convnext_mm.config.reading import load_config
from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.datasets.shapes import write as shapes

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'mask_rcnn' / 'convnext_t_coco.py'
OURS = 'ours, pointwise'


class Stopwatch:
    """The seconds of each part of a step."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.parts: dict[str, float] = {}

    def now(self) -> float:
        synchronise(self.device)
        return time.perf_counter()

    @contextmanager
    def part(self, name: str):
        start = self.now()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + self.now() - start

    def wrap(self, owner: object, method: str, name: str) -> None:
        """Add the time of each call of a method to a part."""
        function = getattr(owner, method)

        def timed(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, method, timed)


class Detector:
    """A detector with a given backbone, its optimizer and a stopwatch for both."""

    def __init__(self, cfg: Config, backbone: Callable[[], nn.Module], device: str) -> None:
        from mmdet.registry import MODELS
        from mmengine.optim import build_optim_wrapper

        self.watch = Stopwatch(device)
        self.model = MODELS.build(cfg.model)
        self.model.backbone = backbone()
        self.model.to(device)
        # Without layer decay, which needs our backbone.
        kind, optimizer = cfg.optim_wrapper.type, cfg.optim_wrapper.optimizer
        self.optimizer = build_optim_wrapper(self.model, dict(type=kind, optimizer=optimizer))
        self._returned = None
        self.model.backbone.register_forward_hook(self._mark_gradient)
        for owner, method, name in (
            (self.model.data_preprocessor, 'forward', 'normalise and pad'),
            (self.model.backbone, 'forward', 'backbone'),
            (self.model.neck, 'forward', 'FPN'),
            (self.model.rpn_head, 'loss_and_predict', 'RPN'),
            (self.model.rpn_head, 'predict', 'RPN'),
            (self.model.roi_head, 'loss', 'box and mask heads'),
            (self.model.roi_head, 'predict', 'box and mask heads'),
        ):
            self.watch.wrap(owner, method, name)

    def train_step(self, data: dict) -> dict[str, float]:
        self.watch.parts.clear()
        self.model.train()
        with self.watch.part('total'):
            with self.optimizer.optim_context(self.model):
                data = self.model.data_preprocessor(data, True)
                losses = self.model(**data, mode='loss')
                loss, _ = self.model.parse_losses(losses)
            self._returned = None
            start = self.watch.now()
            self.optimizer.backward(loss)
            end = self.watch.now()
            with self.watch.part('optimizer'):
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.watch.parts['backward, heads'] = self._returned - start
        self.watch.parts['backward, backbone'] = end - self._returned
        return dict(self.watch.parts)

    def predict(self, data: dict) -> dict[str, float]:
        self.watch.parts.clear()
        self.model.eval()
        with self.watch.part('total'), torch.no_grad(), self.optimizer.optim_context(self.model):
            self.model.test_step(data)
        return dict(self.watch.parts)

    def _mark_gradient(self, module: nn.Module, args: object, maps: tuple) -> None:
        def mark(grad: torch.Tensor) -> None:
            self._returned = self._returned or self.watch.now()

        for each in maps:
            if each.requires_grad:
                each.register_hook(mark)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--batch', type=int, help='images per training step (1; GPU 2)')
    parser.add_argument('--other', default='MMPretrain', help='the contender to compare with')
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    args = parser.parse_args()
    args.batch = args.batch or (2 if args.device == 'cuda' else 1)
    makers, missing = contenders('tiny')
    if args.other in missing:
        parser.error(f'{args.other} cannot be imported: {missing[args.other]}')

    MMLogger.get_instance('benchmark', log_level='WARNING')
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        cfg = config(Path(folder), args)
        detectors = {
            'ours': Detector(cfg, makers[OURS], args.device),
            args.other: Detector(cfg, makers[args.other], args.device),
        }
        heads = {
            name: value
            for name, value in detectors['ours'].model.state_dict().items()
            if not name.startswith('backbone.')
        }
        detectors[args.other].model.load_state_dict(heads, strict=False)
        figures = measure(cfg, detectors, args)
    print(f'Mask R-CNN, ConvNeXt-T, {machine(args.device)}, {cfg.optim_wrapper.type}')
    for task, seconds in figures.items():
        print(table(task, seconds))
    if args.json:
        args.json.write_text(json.dumps(dict(machine=machine(args.device), **figures), indent=1))
    return 0


def config(folder: Path, args: argparse.Namespace) -> Config:
    """Return the recipe for rendered images of 480x640 pixels, as `tools/train.py --data` does."""
    shapes.write_coco(folder / 'data', train=8 * args.batch, val=4, height=480, width=640)
    cfg = load_config(CONFIG)
    cfg.work_dir = str(folder / 'work')
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.rcnn.score_thr = 0.0  # random weights give low scores; keep 100 detections
    cfg = adapt_to_own_data(cfg, folder / 'data')
    init_default_scope('mmdet')
    if args.device == 'cpu':
        cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.train_dataloader.update(batch_size=args.batch, num_workers=0, persistent_workers=False)
    cfg.val_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
    return cfg


def measure(cfg: Config, detectors: dict[str, Detector], args: argparse.Namespace) -> dict:
    """Return the median seconds by task, detector and part."""
    figures = {}
    for task, key, step in (
        ('prediction, 1 of 800x1067', 'val_dataloader', 'predict'),
        (f'training step, {args.batch} of 480-800x640-1067', 'train_dataloader', 'train_step'),
    ):
        loader = Runner.build_dataloader(cfg[key], seed=0)
        batches = endless(loader)
        found: dict[str, list[dict]] = {name: [] for name in detectors}
        for turn in range(args.repeats + 1):
            start = time.perf_counter()
            data = next(batches)
            loading = time.perf_counter() - start
            for name, detector in detectors.items():
                torch.manual_seed(turn)
                parts = getattr(detector, step)(data)
                parts['loading, in one worker'] = loading
                if turn:  # the first is a warm-up
                    found[name].append(parts)
        figures[task] = {
            name: {part: statistics.median(p[part] for p in rows) for part in rows[0]}
            for name, rows in found.items()
        }
    return figures


def endless(loader):
    while True:
        yield from loader


def table(task: str, seconds: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table; the parts have the order of their times in the first detector."""
    first, *_ = seconds.values()
    totals = {name: parts['total'] for name, parts in seconds.items()}
    order = sorted(first, key=lambda part: (part == 'total', -first[part]))
    lines = [f'\n**{task}**\n', f'| | {" | ".join(f"{n}, s | share" for n in seconds)} |']
    lines.append('|---|' + '--:|--:|' * len(seconds))
    for part in order:
        cells = [f'{s[part]:.3f} | {s[part] / totals[n]:.0%}' for n, s in seconds.items()]
        lines.append(f'| {part} | {" | ".join(cells)} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
