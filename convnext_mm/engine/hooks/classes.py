"""Hooks against silent failures: classes that differ somewhere, and results that are empty."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.errors import UserError

# Modules whose number of classes is another thing than the data set's: an RPN tells objects from no
# objects, a backbone's is of its pretraining, HTC's semantic head has classes of its own.
_NOT_HEADS = ('backbone', 'rpn_head', 'semantic_head')


class ClassesHook(Hook):
    """Stops a run whose heads, data set and evaluators speak of different classes.

    Raises:
        UserError: There is a difference; the message says which and what to do.
    """

    def before_train(self, runner: Runner) -> None:
        _check_heads(runner, 'train')
        if runner.val_loop is not None:
            _check_evaluator(runner.val_loop.evaluator)

    def before_test(self, runner: Runner) -> None:
        _check_heads(runner, 'test')
        _check_evaluator(runner.test_loop.evaluator)


def _check_heads(runner: Runner, split: str) -> None:
    classes = getattr(runner, f'{split}_dataloader').dataset.metainfo.get('classes')
    datasets = leaf_datasets(runner.cfg.get(f'{split}_dataloader'))
    # A model that is told the classes in words has no place for each.
    if not classes or any(dataset.get('return_classes') for dataset in datasets):
        return
    differ = {
        name: module.num_classes
        for name, module in _bare(runner.model).named_modules()
        if isinstance(getattr(module, 'num_classes', None), int)
        and module.num_classes != len(classes)
        and not any(part in name.split('.') for part in _NOT_HEADS)
    }
    if differ:
        name, count = next(iter(differ.items()))
        more = f' and {len(differ) - 1} more' if len(differ) > 1 else ''
        raise UserError(
            f'the data set has {len(classes)} classes and model.{name}{more} {count}: make '
            'num_classes the same, or have it done: tools/train.py CONFIG --data PATH'
        )


def _check_evaluator(evaluator: Evaluator) -> None:
    """MMDetection takes a class for its place among the JSON's categories, so these must agree."""
    for metric in evaluator.metrics:
        classes = list((metric.dataset_meta or {}).get('classes') or ())
        coco = getattr(metric, '_coco_api', None)
        if coco is None or not classes:
            continue
        listed = [c['name'] for c in coco.dataset.get('categories', []) if c['name'] in classes]
        missing = [name for name in classes if name not in listed]
        if missing:
            raise UserError(
                f'{_classes(missing)} of the data set are no categories in the ann_file of '
                f'{type(metric).__name__}: is metainfo.classes set in every loader?'
            )
        if listed != classes:
            raise UserError(
                f'the classes {classes} are in another order in the ann_file of '
                f'{type(metric).__name__}, {listed}: give metainfo.classes in that order'
            )


def _classes(names: Sequence[str]) -> str:
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return f'{len(names)} class{"es" if len(names) > 1 else ""} ({", ".join(names[:3])}{more})'


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
