"""Train a detector with the network of each step of the roadmap, and compare the results."""

from __future__ import annotations

import copy
import json
import os
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict
from rich.console import Console

from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import leaf_datasets, type_name
from convnext_mm.config.reading import load_checked_config
from convnext_mm.config.schedule import rescaled_schedulers
from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.datasets.shapes import write as shapes
from convnext_mm.diagnose.stats import ModulePart, model_stats
from convnext_mm.engine.terminal import Terminal
from convnext_mm.errors import UserError
from convnext_mm.experiments.runs import Run, run_all
from convnext_mm.roadmap import ROADMAP, STEPS, Published, Roadmap

REFERENCES = ('resnet', 'swin')
RESULTS = 'roadmap.json'
SHAPES_ROOT = Path('data', 'shapes_roadmap')
SHAPES = dict(train=1100, val=500)
CLEAR = 2  # A difference is clear if it is larger than so many of its standard errors.
_TRACK = 'resnet50'
_METRIC = 'coco/bbox_mAP'
_SIZES = range(8, 129)  # channels of a reference


@dataclass(frozen=True)
class Measured:
    """The results of one network.

    Attributes:
        name: The step, or ``mmdet resnet`` or ``mmdet swin``.
        gflops: Billions of multiply-adds of the backbone for an image of the recipe.
        params: Millions of parameters of the backbone.
        ap: Box AP in percent after each training, by its seed.
    """

    name: str
    gflops: float
    params: float
    ap: dict[int, float]

    @property
    def mean(self) -> float:
        return statistics.mean(self.ap.values())

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds; None for a single seed."""
        return statistics.stdev(self.ap.values()) if len(self.ap) > 1 else None

    @property
    def published(self) -> Published | None:
        """The figures of the paper; None for a reference."""
        return ROADMAP[_TRACK][self.name].published if self.name in STEPS else None


def compare_steps(
    config: str | Path,
    work_dir: str | Path,
    *,
    steps: Sequence[str] = STEPS,
    seeds: Sequence[int] = (0, 1, 2),
    references: Sequence[str] = (),
    data: str | Path | None = None,
    iterations: int | None = None,
    jobs: int | None = None,
    options: Mapping[str, object] | None = None,
    console: Console | None = None,
) -> list[Measured]:
    """Train the detector of a config with each network and seed, and write ``roadmap.json``.

    A training that has ended before is not run again. One that was interrupted goes on.

    Args:
        config: A detector with a :class:`convnext_mm.Roadmap` and a neck, and a training that
            counts iterations.
        work_dir: The folder of all trainings and of the results.
        steps: The steps to train.
        seeds: Each network is trained once with each seed.
        references: ``resnet`` and ``swin``: these backbones of MMDetection, with the FLOPs of the
            last step.
        data: A data set of the user instead of the built-in shapes.
        iterations: The length of each training; by default as in the config.
        jobs: How many trainings run at a time; by default one for each CPU core.
        options: Settings of the config to override, by dotted name.
        console: Where to show the progress.

    Raises:
        UserError: An argument, a setting or the data is wrong, or a training failed.
        StoppedError: The user stopped the command.
    """
    steps = _in_order('step', steps, STEPS)
    references = _in_order('reference', references, REFERENCES)
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f'seeds={list(seeds)}: give at least one, and each only once')
    jobs = len(os.sched_getaffinity(0)) if jobs is None else jobs
    if jobs < 1:
        raise UserError(f'jobs={jobs} must be at least 1')
    work_dir = Path(work_dir)
    with Terminal(verbose=False):
        cfg = load_checked_config(config, options)
        if 'neck' not in cfg.model or 'max_iters' not in cfg.train_cfg:
            raise UserError(
                f'{config} does not suit: it must be a detector with a neck, and its training must '
                'count iterations (train_cfg.max_iters)'
            )
        cfg.work_dir = str(work_dir)
        if data is not None:
            cfg = adapt_to_own_data(cfg, data, options or ())
        else:
            _use_shapes(cfg, SHAPES_ROOT.resolve())
        _set_length(cfg, cfg.train_cfg.max_iters if iterations is None else iterations)
        networks = {name: _with_step(cfg, name) for name in steps}
        networks |= {f'mmdet {name}': _with_reference(cfg, name) for name in references}
        parts = {name: _backbone(network) for name, network in networks.items()}
    # All networks with the first seed, then all with the next.
    runs = {
        (name, seed): _run(network, work_dir, name, seed)
        for seed in seeds
        for name, network in networks.items()
    }
    results = run_all(list(runs.values()), jobs, console or Console())
    ap = {key: 100 * metrics[_METRIC] for key, metrics in zip(runs, results, strict=True)}
    measured = []
    for name, part in parts.items():
        own = {seed: ap[name, seed] for seed in seeds}
        measured.append(Measured(name, part.flops / 1e9, part.params / 1e6, own))
    (work_dir / RESULTS).write_text(json.dumps([asdict(one) for one in measured], indent=2) + '\n')
    return measured


def verdict(before: Measured, after: Measured) -> str:
    """Say whether the change from one step to the next is the same here as on ImageNet.

    A difference counts if it is larger than ``CLEAR`` of its standard errors, here and in the
    paper.

    Returns:
        ``agrees`` or ``disagrees`` if both differences count, or else the reason: ``not clear
        here``, ``not clear in the paper`` or ``one seed``.
    """
    if None in (before.deviation, after.deviation):
        return 'one seed'
    here = _clear_difference(*((one.mean, one.deviation, len(one.ap)) for one in (before, after)))
    paper = _clear_difference(
        *((one.published.top1, one.published.deviation, 3) for one in (before, after))
    )
    if not here:
        return 'not clear here'
    if not paper:
        return 'not clear in the paper'
    return 'agrees' if here * paper > 0 else 'disagrees'


def verdicts(measured: Sequence[Measured]) -> dict[str, str]:
    """Return the verdict for each step whose step before was trained too."""
    by_name = {one.name: one for one in measured}
    found = {}
    for name, one in by_name.items():
        before = by_name.get(ROADMAP[_TRACK][name].builds_on) if one.published else None
        if before is not None:
            found[name] = verdict(before, one)
    return found


def _clear_difference(before: tuple[float, float, int], after: tuple[float, float, int]) -> float:
    """Return the difference of two means, or 0 if it is not clear; each has mean, deviation, n."""
    difference = after[0] - before[0]
    error = sum(deviation**2 / n for _, deviation, n in (before, after)) ** 0.5
    return difference if abs(difference) > CLEAR * error else 0.0


def _in_order(kind: str, given: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in given:
        if name not in known:
            raise UserError(f'{kind} {name!r} is unknown; allowed: {", ".join(known)}')
    return [name for name in known if name in given]


def _use_shapes(cfg: Config, root: Path) -> None:
    """Write the built-in shapes and train on them."""
    shapes.write_coco(root, **SHAPES)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for dataset in leaf_datasets(cfg[loader]):
            dataset.data_root = f'{root}/'
    for evaluator in ('val_evaluator', 'test_evaluator'):
        cfg[evaluator].ann_file = str(root / 'annotations' / 'instances_val.json')


def _set_length(cfg: Config, iterations: int) -> None:
    """Train for so many iterations, and evaluate once at the end."""
    if iterations < 1:
        raise UserError(f'iterations={iterations} must be at least 1')
    cfg.param_scheduler = rescaled_schedulers(cfg, cfg.train_cfg.max_iters, iterations)
    cfg.train_cfg.update(max_iters=iterations, val_interval=iterations)
    cfg.default_hooks.checkpoint.interval = iterations
    cfg.default_hooks.logger.interval = min(10, iterations)


def _with_step(cfg: Config, step: str) -> Config:
    """Return the config with the network of a step."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.step = step
    backbone = build_on_meta(cfg).backbone
    if not isinstance(backbone, Roadmap):
        raise UserError(
            f'the backbone of the config is {type(backbone).__name__}, and must be '
            "dict(type='convnext_mm.Roadmap', ...)"
        )
    cfg.model.neck.in_channels = list(backbone.out_channels)
    return cfg


def _with_reference(cfg: Config, name: str) -> Config:
    """Return the config with a backbone of MMDetection that has the FLOPs of the last step."""
    target = _backbone(_with_step(cfg, STEPS[-1])).flops

    def flops(channels: int) -> int:
        return _backbone(_reference(cfg, name, channels)).flops

    above = min(bisect_left(_SIZES, target, lo=1, key=flops), len(_SIZES) - 1)
    nearest = min(_SIZES[above - 1 : above + 1], key=lambda size: abs(flops(size) - target))
    return _reference(cfg, name, nearest)


def _reference(cfg: Config, name: str, channels: int) -> Config:
    """Return the config with a ResNet-50 or a Swin-T that has so many channels."""
    cfg = copy.deepcopy(cfg)
    stages = cfg.model.backbone.get('out_indices', (0, 1, 2, 3))
    if name == 'resnet':
        # As all steps, it starts from the initialisation of the config.
        backbone = dict(
            type='mmdet.ResNet',
            depth=50,
            base_channels=channels,
            norm_eval=False,
            init_cfg=cfg.model.backbone.get('init_cfg'),
        )
        widths = [4 * channels * 2**i for i in range(4)]
    else:
        heads = max(1, channels // 32)
        backbone = dict(
            type='mmdet.SwinTransformer',
            embed_dims=channels - channels % heads,
            num_heads=[heads * 2**i for i in range(4)],
            depths=[2, 2, 6, 2],
            drop_path_rate=0.0,
        )
        widths = [backbone['embed_dims'] * 2**i for i in range(4)]
    cfg.model.backbone = ConfigDict(backbone, out_indices=stages)
    cfg.model.neck.in_channels = [widths[i] for i in stages]
    return cfg


def _backbone(cfg: Config) -> ModulePart:
    """Return the parameters and multiply-adds of the backbone for an image of the recipe."""
    return model_stats(cfg, _image_size(cfg)).parts['backbone']


def _image_size(cfg: Config) -> tuple[int, int]:
    for dataset in leaf_datasets(cfg.test_dataloader):
        for transform in dataset.pipeline:
            if type_name(transform) == 'Resize':
                return tuple(transform.scale)
    raise UserError('the test pipeline of the config has no Resize, which names the image size')


def _run(cfg: Config, work_dir: Path, name: str, seed: int) -> Run:
    cfg = copy.deepcopy(cfg)
    cfg.randomness = dict(seed=seed)
    cfg.work_dir = str(work_dir / f'{name.replace(" ", "_")}_{seed}')
    return Run(f'{name} with seed {seed}', cfg)
