"""Find the recipe for a data set and a machine, its schedule, and the command to run."""

from __future__ import annotations

import math
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from convnext_mm.config import batch_size
from convnext_mm.config.nodes import leaf_datasets, type_name
from convnext_mm.config.reading import load_config
from convnext_mm.datasets.own.adapt_config import adapt_config
from convnext_mm.datasets.own.check import KINDS, LISTED_CLASSES, CheckedData
from convnext_mm.datasets.own.statistics import Statistics, statistics
from convnext_mm.datasets.own.write import write_data
from convnext_mm.diagnose.recommend.rules import Needs, Rule, choose
from convnext_mm.diagnose.recommend.step_time import STEPS, seconds_per_iteration
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import counted, listed, printable

# The image size by which the rules judge objects: the test scale of the recipe for photographs.
_JUDGED_AT = (320, 320)
_FEW_IMAGES, _FEW_OBJECTS = 100, 20
_MANY_SMALL = 0.1  # of the objects


@dataclass(frozen=True)
class Schedule:
    """The length of a training.

    Attributes:
        steps: The number of steps of the optimizer.
        images: The number of images in each.
        hours: The estimated time on this machine, without evaluations; None if not measured.
    """

    steps: int
    images: int
    hours: float | None = None


@dataclass(frozen=True)
class Advice:
    """A recipe for a data set and a machine.

    Attributes:
        recipe: Its name.
        command: The command that trains it.
        reasons: Why it was chosen, a line each.
        warnings: What may keep it from working well, with a remedy, a line each.
        schedule: Its length.
        scale: The size to which it resizes images in tests, (longer side, shorter side).
        anchors: The sizes of its smallest and largest anchors in px; None for label maps.
    """

    recipe: str
    command: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    schedule: Schedule
    scale: tuple[int, int]
    anchors: tuple[int, int] | None = None


def gpu_memory() -> float:
    """Return the memory of the first GPU in GB; 0 without a GPU."""
    if not torch.cuda.is_available():
        return 0.0
    return torch.cuda.get_device_properties(0).total_memory / 1e9


def recommend(
    checked: CheckedData, path: str | Path, gpu_gb: float, *, measure: bool = True
) -> Advice:
    """Find the recipe for a data set.

    Args:
        checked: The data set, without errors.
        path: Its path, for the command.
        gpu_gb: The memory of the GPU in GB; 0 for a CPU.
        measure: Whether to time a few steps on this machine.
    """
    train = statistics(checked)['train']
    needs = needs_of(checked, train, gpu_gb)
    rule = choose(needs)
    cfg = load_config(rule.recipe, rule.options)
    with tempfile.TemporaryDirectory() as folder:
        # Repaired annotations and new splits, which the training writes into its work dir.
        data = write_data(checked, Path(folder))
        for _ in adapt_config(cfg, data, rule.options, accumulate=rule.accumulate):
            pass
        seconds = seconds_per_iteration(cfg) if measure else None
    scale, anchors = _test_scale(cfg), _anchors(cfg)
    schedule = _schedule(cfg, data.splits['train'].annotated_count, rule, seconds)
    return Advice(
        recipe=rule.recipe,
        command=_command(rule, path),
        reasons=(*_reasons(needs, rule, data.with_masks), _time(schedule, seconds)),
        warnings=(*_warnings(needs, train, scale, anchors),),
        schedule=schedule,
        scale=scale,
        anchors=anchors,
    )


def needs_of(checked: CheckedData, train: Statistics, gpu_gb: float) -> Needs:
    """Return the facts that the rules ask for."""
    images = int((train.objects_by_image > 0).sum())
    sizes = box_sizes(train, _JUDGED_AT)
    median = float(np.median(sizes)) if len(sizes) else None
    side = float(np.median(train.image_sizes.max(1)))
    return Needs(checked.layout.kind, images, gpu_gb, median, side)


def box_sizes(train: Statistics, scale: tuple[int, int] | None = None) -> np.ndarray:
    """Return the square roots of the areas of the boxes, in the images or after a resize."""
    factors = train.resize_factors(scale)[train.images] if scale else 1.0
    return np.sqrt(train.boxes.prod(1)) * factors if len(train.boxes) else np.zeros(0)


def _command(rule: Rule, path: str | Path) -> str:
    words = [*command('train').split(), rule.recipe, '--data', str(path)]
    words += ['--accumulate'] if rule.accumulate else []
    if rule.options:
        words += [
            '--cfg-options',
            *(f'{key}={_value(value)}' for key, value in rule.options.items()),
        ]
    return shlex.join(words)


def _value(value: object) -> str:
    """Write a setting as ``--cfg-options`` reads it: without spaces."""
    return str(value).replace(' ', '')


def _reasons(needs: Needs, rule: Rule, with_masks: bool) -> Iterator[str]:
    images = counted(needs.images, 'training image')
    machine = f'a GPU with {needs.gpu_gb:.0f} GB' if needs.gpu_gb else 'no GPU'
    yield f'{images} with labels, {machine}: {rule.because}'
    if needs.kind == 'coco' and not with_masks:
        yield 'boxes without masks: it is trained without its mask head'


def _time(schedule: Schedule, seconds: float | None) -> str:
    length = f'{schedule.steps:,} steps of {schedule.images} images'
    if schedule.hours is None:
        return f'{length}; the time was not measured'
    each = f'{seconds:.2g} s' if seconds < 10 else f'{seconds:,.0f} s'
    return (
        f'{length}: about {schedule.hours:,.1f} hours on this machine, without evaluations. This '
        f'is an estimate: {counted(STEPS, "iteration")} took {each} each'
    )


def _schedule(cfg: Config, images: int, rule: Rule, seconds: float | None) -> Schedule:
    """Return the length of an adapted config; its iterations count at the batch of the recipe."""
    loaded = batch_size.images_per_iteration(cfg, processes=1)
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size', loaded)
    batch = base if rule.accumulate else loaded
    steps = cfg.train_cfg.get('max_iters')
    if steps is None:
        steps = cfg.train_cfg.max_epochs * math.ceil(_repeats(cfg) * images / batch)
    hours = None if seconds is None else steps * (batch / loaded) * seconds / 3600
    return Schedule(steps, batch, hours)


def _repeats(cfg: Config) -> int:
    node, times = cfg.train_dataloader.dataset, 1
    while 'dataset' in node:
        times *= node.get('times', 1)
        node = node.dataset
    return times


def _test_scale(cfg: Config) -> tuple[int, int]:
    pipeline = next(leaf_datasets(cfg.test_dataloader)).pipeline
    resize = next(step for step in pipeline if type_name(step) == 'Resize')
    return tuple(sorted(resize.scale, reverse=True))


def _anchors(cfg: Config) -> tuple[int, int] | None:
    generator = cfg.model.get('rpn_head', {}).get('anchor_generator')
    if not generator:
        return None
    sizes = [scale * stride for scale in generator.scales for stride in generator.strides]
    return min(sizes), max(sizes)


def _warnings(
    needs: Needs, train: Statistics, scale: tuple[int, int], anchors: tuple[int, int] | None
) -> Iterator[str]:
    if needs.images < _FEW_IMAGES:
        yield 'few training images: more of them help more than any setting'
    counts: Mapping[str, int] = dict(zip(train.classes, train.objects_by_class))
    rare = [name for name, count in counts.items() if count < _FEW_OBJECTS]
    if needs.kind == 'coco' and rare:
        yield (
            f'{counted(len(rare), "class")} with fewer than {_FEW_OBJECTS} objects, such as '
            f'{rare[0]}: too few to learn'
        )
    if not anchors or not len(train.boxes):
        return
    limit = anchors[0] / 2
    share = float((box_sizes(train, scale) < limit).mean())
    if share > _MANY_SMALL:
        # The median object then has the size of the smallest anchor.
        enlarge = max(2.0, anchors[0] / float(np.median(box_sizes(train, scale))))
        tile = round(float(np.median(train.image_sizes.max(1))) / enlarge)
        yield (
            f'{share:.0%} of the objects are smaller than {limit:.0f} px in images of '
            f'{scale[0]}x{scale[1]}, half of the smallest anchor, and are hard to find: use larger '
            f'images, or cut them into tiles of about {tile} px'
        )


def numbers(checked: CheckedData, found: Mapping[str, Statistics]) -> dict:
    """Return the numbers of a data set as plain values, for JSON."""
    train = found['train']
    objects = zip(train.classes, train.objects_by_class, train.images_by_class)
    quartiles = (0, 25, 50, 75, 100)
    sizes = box_sizes(train)
    return dict(
        path=str(checked.layout.root),
        kind=checked.layout.kind,
        images={split: len(one.files) for split, one in found.items()},
        images_without_objects={split: one.empty_images for split, one in found.items()},
        classes={name: dict(objects=int(n), images=int(m)) for name, n, m in objects},
        image_size_quartiles=np.percentile(train.image_sizes, quartiles, axis=0).tolist(),
        object_size_quartiles=np.percentile(sizes, quartiles).tolist() if len(sizes) else None,
    )


def as_text(checked: CheckedData, found: Mapping[str, Statistics], advice: Advice) -> str:
    """Write the numbers of a data set and the advice for it, for a terminal."""
    lines = [f'{checked.layout.root}: {KINDS[checked.layout.kind]}']
    for split, numbers in found.items():
        lines.append(f'  {split:<8} {_images(numbers)}')
    train = found['train']
    lines += [f'  {"sizes":<8} {_image_sizes(train)}', *_objects(train)]
    lines += [f'  {"classes":<8} {_classes(train)}', '', f'recommended: {advice.recipe}']
    lines += [f'  {reason}' for reason in advice.reasons]
    lines += [f'  warning: {warning}' for warning in advice.warnings]
    return '\n'.join([*lines, '', advice.command])


def _images(numbers: Statistics) -> str:
    empty = f', {numbers.empty_images:,} of them without objects' if numbers.empty_images else ''
    return f'{counted(len(numbers.files), "image")}{empty}'


def _image_sizes(train: Statistics) -> str:
    small, middle, large = (np.percentile(train.image_sizes, q, axis=0) for q in (0, 50, 100))
    sizes = [f'{width:.0f}x{height:.0f}' for width, height in (small, middle, large)]
    return sizes[0] if sizes[0] == sizes[2] else f'{sizes[0]} to {sizes[2]}, median {sizes[1]}'


def _objects(train: Statistics) -> Iterator[str]:
    if not len(train.boxes):
        return
    sizes = np.percentile(box_sizes(train), (10, 50, 90))
    crowds = f', {counted(train.crowds, "crowd")}' if train.crowds else ''
    yield (
        f'  {"objects":<8} {len(train.boxes):,}{crowds}, up to {train.objects_by_image.max()} in '
        f'an image; median {sizes[1]:.0f} px, most of them {sizes[0]:.0f} to {sizes[2]:.0f} px'
    )


def _classes(train: Statistics) -> str:
    counts = zip(train.classes, train.images_by_class)
    ordered = sorted(counts, key=lambda pair: -pair[1])
    names = [f'{printable(name)} in {counted(int(n), "image")}' for name, n in ordered]
    return f'{len(names)}: {listed(names, LISTED_CLASSES)}'
