#!/usr/bin/env python
"""Measure the training pipelines of the recipes on one core: benchmarks/loader.py PATH...

Each PATH is a data set in the layout of COCO or ADE20K. The authors' pipeline and ours take turns
with the same images and the same random numbers, so that other load on the machine slows both. The
tables have the median CPU time of an image, by transform with --by-transform.

With --memory: the memory of 8 workers with as many annotations as COCO has, copied from PATH.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from torch.utils.data import DataLoader

import convnext_mm  # noqa: F401  so that MMEngine finds the recipes
from convnext_mm.compat import apply_workarounds
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.recipes import recipe

COCO_RECIPES = (
    *('cascade/convnext_t_coco', 'mask_rcnn/convnext_v2_t_coco', 'cascade/convnext_t_finetune'),
)
ADE20K_RECIPES = ('upernet/convnext_t_ade20k', 'upernet/convnext_b_in22k_ade20k')
COCO_IMAGES = 118_287
ROIS = 128  # that a head learns masks from in one image, at most
TARGET_BYTES = 28 * 28 * 4
MB = 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('paths', nargs='+', type=Path, metavar='PATH')
    parser.add_argument('--count', type=int, default=64, help='images (%(default)s)')
    parser.add_argument('--repeats', type=int, default=5, help='(%(default)s)')
    parser.add_argument('--recipes', nargs='+', help='these only')
    parser.add_argument('--by-transform', action='store_true')
    parser.add_argument(
        '--agreement', action='store_true', help='only compare the samples of both pipelines'
    )
    parser.add_argument('--memory', action='store_true', help='only the memory of 8 workers')
    args = parser.parse_args()
    apply_workarounds()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print(f'{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, load {load()}')
    for path in args.paths:
        is_coco = (path / 'train2017').is_dir()
        if args.memory:
            if is_coco:
                measure_memory(path)
            continue
        if args.agreement and is_coco:
            print(agreement(path, args.count))
        if args.agreement:
            continue
        names = args.recipes or (COCO_RECIPES if is_coco else ADE20K_RECIPES)
        print(f'\n| {path.name} | authors, ms | ours, ms | images/s | ratio | masks to GPU, MB |')
        print('|---|--:|--:|--:|--:|--:|')
        details = []
        for name in names:
            dataset, pipelines = build(name, path)
            times, truth = measure(dataset, pipelines, args.count, args.repeats)
            print(row(name, times, truth), flush=True)
            details.append(by_transform(name, times))
        if args.by_transform:
            print('\n' + '\n\n'.join(details))
    print(f'\nload at the end {load()}')
    return 0


def load() -> str:
    return ' '.join(f'{value:.1f}' for value in os.getloadavg())


# --- time


class Timed:
    """A pipeline that measures the CPU time of each transform."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms
        self.times: dict[str, list[float]] = defaultdict(list)

    def __call__(self, results: dict) -> dict | None:
        start = time.process_time()
        for transform in self.transforms:
            before = time.process_time()
            results = transform(results)
            self.times[_name(transform)].append(time.process_time() - before)
            if results is None:
                break
        self.times['all'].append(time.process_time() - start)
        return results


def _name(transform: Callable) -> str:
    return type(getattr(transform, '_run', transform)).__name__.replace(
        'LoadImageFromFile', 'LoadImage'
    )


def build(name: str, path: Path) -> tuple[BaseDataset, dict[str, Timed]]:
    cfg = Config.fromfile(recipe(name))
    init_default_scope(cfg.default_scope)
    leaf = next(leaf_datasets(cfg.train_dataloader))
    (fast,) = leaf.pipeline
    leaf.update(data_root=f'{path}/', pipeline=[])
    pipelines = dict(
        authors=Timed(Compose(fast.transforms).transforms),
        ours=Timed(Compose([fast]).transforms[0].transforms.transforms),
    )
    return DATASETS.build(leaf), pipelines


def measure(
    dataset: BaseDataset, pipelines: dict[str, Timed], count: int, repeats: int
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return the seconds by transform, and the bytes of masks that go to the GPU, of an image."""
    infos = [dataset.get_data_info(i % len(dataset)) for i in range(count)]
    seconds: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in pipelines}
    truth = {name: [] for name in pipelines}
    for turn in range(repeats + 1):
        for name, pipeline in pipelines.items():
            pipeline.times.clear()
            for number, info in enumerate(infos):
                np.random.seed(1000 * turn + number)
                sample = pipeline(copy.deepcopy(info))
                if turn == 0 and sample is not None:
                    truth[name].append(bytes_of_masks(sample))
            for transform, times in pipeline.times.items():
                if turn:  # the first is a warm-up
                    seconds[name][transform].append(sum(times) / count)
    return (
        {
            name: {key: statistics.median(values) for key, values in found.items()}
            for name, found in seconds.items()
        },
        {name: statistics.mean(values) for name, values in truth.items()},
    )


def bytes_of_masks(sample: dict) -> int:
    """Return what one head copies to the GPU to get the targets of its RoIs."""
    objects = sample['data_samples'].get('gt_instances')
    if objects is None:
        return sample['data_samples'].gt_sem_seg.data.nbytes
    bitmaps = objects.masks.masks.nbytes if 'Bitmap' in type(objects.masks).__name__ else 0
    return bitmaps + ROIS * TARGET_BYTES


def row(name: str, times: dict[str, dict[str, float]], truth: dict[str, float]) -> str:
    authors, ours = (times[key]['all'] for key in ('authors', 'ours'))
    cells = [name, f'{authors * 1e3:.1f}', f'{ours * 1e3:.1f}', f'{1 / ours:.0f}']
    cells += [f'{authors / ours:.1f}x', f'{truth["authors"] / MB:.1f} -> {truth["ours"] / MB:.1f}']
    return f'| {" | ".join(cells)} |'


def by_transform(name: str, times: dict[str, dict[str, float]]) -> str:
    lines = [f'| {name} | authors, ms | ours, ms |', '|---|--:|--:|']
    for transform in times['authors']:
        cells = (f'{times[key].get(transform, 0) * 1e3:.2f}' for key in ('authors', 'ours'))
        lines.append(f'| {transform} | {" | ".join(cells)} |')
    return '\n'.join(lines)


# --- agreement


def agreement(path: Path, count: int, rois: int = 64) -> str:
    """Compare images, boxes, bitmaps and mask targets of the authors' recipe by both pipelines."""
    dataset, pipelines = build(COCO_RECIPES[0], path)
    rng = np.random.default_rng(0)
    levels, boxes_equal, masks_equal, pixels, overlaps = [], [], [], [], []
    milliseconds = [], []
    for number in range(min(count, len(dataset))):
        samples = []
        for pipeline in pipelines.values():
            np.random.seed(number)
            samples.append(pipeline(dataset.get_data_info(number)))
        images = [sample['inputs'].float() for sample in samples]
        levels.append((images[0] - images[1]).abs().mean().item())
        theirs, ours = (sample['data_samples'].gt_instances for sample in samples)
        boxes = ours.bboxes.tensor.numpy()
        boxes_equal.append(np.array_equal(theirs.bboxes.tensor.numpy(), boxes))
        if not len(boxes):
            continue
        objects = rng.integers(0, len(boxes), rois)
        size = np.array([ours.masks.width, ours.masks.height] * 2, np.float32)
        near = boxes[objects] + 0.05 * np.tile(boxes[:, 2:] - boxes[:, :2], 2)[objects] * (
            rng.standard_normal((rois, 4))
        )
        near = near.astype(np.float32).clip(0, size)
        targets = []
        for found, times in zip((theirs, ours), milliseconds):
            start = time.process_time()
            cropped = found.masks.crop_and_resize(near, (28, 28), objects)
            times.append(1000 * (time.process_time() - start))
            targets.append(cropped.to_ndarray())
        a, b = targets
        masks_equal.append(np.array_equal(theirs.masks.masks, ours.masks.to_ndarray()))
        pixels.append((a == b).mean())
        overlaps.append(((a & b).sum((1, 2)) / np.maximum((a | b).sum((1, 2)), 1)).mean())
    return (
        f'{len(levels)} images: equal boxes in {np.mean(boxes_equal):.0%}, equal bitmaps in '
        f'{np.mean(masks_equal):.0%}; pixels differ by {np.mean(levels):.2f} of 255 levels; of the '
        f'28x28 mask targets of {rois} RoIs each, {np.mean(pixels):.2%} of the pixels are equal, '
        f'IoU {np.mean(overlaps):.4f}; to compute these targets took '
        f'{np.median(milliseconds[0]):.0f} ms an image from bitmaps, and '
        f'{np.median(milliseconds[1]):.1f} ms here'
    )


# --- memory


class Copies(BaseDataset):
    """As many annotated images as COCO has, copied from a smaller data set."""

    def __init__(self, infos: list[dict], pipeline: list, serialize_data: bool) -> None:
        self._infos = infos
        super().__init__(ann_file='', pipeline=pipeline, serialize_data=serialize_data)

    def load_data_list(self) -> list[dict]:
        infos, self._infos = self._infos, []
        found = []
        for number in range(COCO_IMAGES):
            info = copy.deepcopy(infos[number % len(infos)])
            found.append(dict(info, img_id=number))
        return found


def measure_memory(path: Path, workers: int = 8) -> None:
    cfg = Config.fromfile(recipe(COCO_RECIPES[0]))
    init_default_scope(cfg.default_scope)
    leaf = next(leaf_datasets(cfg.train_dataloader))
    pipeline = leaf.pipeline
    dataset = DATASETS.build(dict(leaf, data_root=f'{path}/', pipeline=[]))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    dataset = Copies(infos, pipeline, serialize_data=True)
    size = dataset.data_bytes.nbytes + dataset.data_address.nbytes
    loader = DataLoader(
        dataset,
        batch_size=2,
        shuffle=True,
        num_workers=workers,
        collate_fn=pseudo_collate,
        persistent_workers=True,
        multiprocessing_context='fork',
    )
    batches = iter(loader)
    for _ in range(8 * workers):
        next(batches)
    ids = [worker.pid for worker in batches._workers]
    shared, own = (
        sum(memory(pid, key) for pid in ids)
        for key in (('Pss',), ('Private_Clean', 'Private_Dirty'))
    )
    print(
        f'{COCO_IMAGES:,} images: annotations {size / MB:.0f} MB, {workers} workers use '
        f'{shared / MB:.0f} MB (PSS), of which {own / MB:.0f} MB are theirs alone (USS); '
        f'the main process {memory(os.getpid(), ("Pss",)) / MB:.0f} MB (PSS)'
    )


def memory(pid: int, keys: Sequence[str]) -> int:
    """Return the bytes of a process under some keys of the kernel's summary."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.split(':')[0] in keys)


if __name__ == '__main__':
    raise SystemExit(main())
