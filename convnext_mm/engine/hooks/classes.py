"""Stop a run in which model, data set, evaluator and checkpoint have different classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.engine.hooks.unwrap import unwrap
from convnext_mm.messages.findings import Finding, error, raise_errors
from convnext_mm.messages.wording import counted, listed, such_as

# Modules whose num_classes is not the number of classes of the data set: an RPN tells objects from
# background, a backbone has the classes of its pretraining, the semantic head of HTC its own.
_NOT_HEADS = ('backbone', 'rpn_head', 'semantic_head')


class ClassesHook(Hook):
    """Stop a run if its heads, data set and evaluators have different classes.

    Raises:
        UserError: The classes differ. The message says where, and what to do.
    """

    def before_train(self, runner: Runner) -> None:
        raise_errors(_heads(runner, 'train'))
        if runner.val_loop is not None:
            raise_errors(evaluator_classes(runner.val_loop.evaluator))

    def before_test(self, runner: Runner) -> None:
        raise_errors(_heads(runner, 'test'))
        raise_errors(evaluator_classes(runner.test_loop.evaluator))


def head_classes(model: nn.Module, classes: Sequence[str]) -> Iterator[Finding]:
    """Check that all heads of a model have as many classes as the data set."""
    differ = {
        name: module.num_classes
        for name, module in model.named_modules()
        if isinstance(getattr(module, 'num_classes', None), int)
        and module.num_classes != len(classes)
        and not any(part in name.split('.') for part in _NOT_HEADS)
    }
    if differ:
        heads = [f'model.{name} {count}' for name, count in differ.items()]
        yield error(
            'classes',
            f'the data set has {counted(len(classes), "class")}, {listed(heads)}',
            'set num_classes to the same number, or let tools/train.py CONFIG --data PATH set it',
        )


def evaluator_classes(evaluator: Evaluator) -> Iterator[Finding]:
    """Check that COCO evaluators and their JSON files have the classes in the same order.

    MMDetection takes the index of a class in the data set for its index in the categories.
    """
    for metric in evaluator.metrics:
        classes = list((metric.dataset_meta or {}).get('classes') or ())
        coco = getattr(metric, '_coco_api', None)
        if coco is None or not classes:
            continue
        categories = [c['name'] for c in coco.dataset.get('categories', []) if c['name'] in classes]
        missing = [name for name in classes if name not in categories]
        name = type(metric).__name__
        if missing:
            yield error(
                'classes',
                f'the ann_file of {name} has no category for {such_as(missing, "class")} of the '
                'data set',
                'set the same metainfo=dict(classes=...) in every loader',
            )
        elif categories != classes:
            yield error(
                'classes',
                f'the data set has the classes {classes}, the ann_file of {name} has them in '
                f'another order: {categories}',
                'set metainfo.classes in the order of the file',
            )


def _heads(runner: Runner, split: str) -> Iterator[Finding]:
    classes = getattr(runner, f'{split}_dataloader').dataset.metainfo.get('classes')
    datasets = leaf_datasets(runner.cfg.get(f'{split}_dataloader'))
    # A model that gets the classes as text has no output for each.
    if classes and not any(dataset.get('return_classes') for dataset in datasets):
        yield from head_classes(unwrap(runner.model), classes)
