"""Stop a run in which model, data sets, evaluator and checkpoint have different classes."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from convnext_mm.config.heads import check_heads
from convnext_mm.datasets.labels import (
    check_loaders,
    classes_of,
    compare_order,
    single_datasets,
)
from convnext_mm.engine.hooks.unwrap import unwrap
from convnext_mm.engine.resumable_data import SeededDataset
from convnext_mm.messages.findings import Finding, raise_errors


class ClassesHook(Hook):
    """Stop a run if its heads, data sets and evaluators have different classes.

    Raises:
        UserError: The classes differ. The message says where, and what to do.
    """

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is None:
            raise_errors(_check(runner, 'train'))
        else:
            raise_errors(_check(runner, 'train', 'val'))
            raise_errors(evaluator_classes(runner.val_loop.evaluator))

    def before_test(self, runner: Runner) -> None:
        raise_errors(_check(runner, 'test'))
        raise_errors(evaluator_classes(runner.test_loop.evaluator))


def evaluator_classes(evaluator: Evaluator) -> Iterator[Finding]:
    """Check that COCO evaluators and their JSON files have the classes in the same order.

    MMDetection takes the index of a class in the data set for its index in the categories.
    """
    for metric in evaluator.metrics:
        classes = (metric.dataset_meta or {}).get('classes') or ()
        coco = getattr(metric, '_coco_api', None)
        if coco is not None and classes:
            categories = [c['name'] for c in coco.dataset.get('categories', [])]
            labelled = [name for name in categories if name in classes]
            reader = type(metric).__name__
            yield from compare_order(
                classes, labelled, categories, reader, f'the ann_file of {reader}'
            )


def _check(runner: Runner, *splits: str) -> Iterator[Finding]:
    loaders = [f'{split}_dataloader' for split in splits]
    datasets = {key: [*single_datasets(_dataset(getattr(runner, key)))] for key in loaders}
    yield from check_loaders(datasets)
    first = datasets[loaders[0]][0]
    # A model that gets the classes as text has no output for each.
    if classes_of(first) and not getattr(first, 'return_classes', False):
        yield from check_heads(unwrap(runner.model), first.metainfo)


def _dataset(loader: DataLoader) -> Dataset:
    """Return the data set of a loader, without the wrapper of a training that can be resumed."""
    return loader.dataset.inner if isinstance(loader.dataset, SeededDataset) else loader.dataset
