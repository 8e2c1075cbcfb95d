"""Detectors that find nothing, and runs in which the classes differ."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from convnext_mm.engine.hooks.classes import ClassesHook
from convnext_mm.engine.hooks.empty_results import EmptyResultsHook, why_nothing
from convnext_mm.errors import UserError


class Detector(nn.Module):
    """Finds one box for each score above its threshold."""

    def __init__(self, *scores, num_classes=2):
        super().__init__()
        self.scores = torch.tensor(scores)
        self.head = nn.Linear(1, 1)
        self.head.num_classes = num_classes
        self.test_cfg = Config(dict(rcnn=dict(score_thr=0.5)))._cfg_dict

    def test_step(self, batch):
        scores = self.scores[self.scores > self.test_cfg.rcnn.score_thr]
        return [Sample(InstanceData(scores=scores))]


class Sample(dict):
    def __init__(self, instances):
        super().__init__(pred_instances=instances)
        self.pred_instances = instances


def test_scores_below_the_threshold_are_measured():
    model = Detector(0.1, 0.3)
    text = why_nothing(model, None)
    assert 'the highest score in the last batch is 0.300' in text and 'is 0.5' in text
    assert model.test_cfg.rcnn.score_thr == 0.5


def test_no_boxes_at_all_and_weights_that_are_nan_are_told_apart():
    model = Detector()
    assert 'also with a score threshold of 0' in why_nothing(model, None)
    model.head.weight.data.fill_(float('nan'))
    assert '1 tensor (head.weight) hold NaN' in why_nothing(model, None)


def test_only_an_evaluation_without_any_detection_is_explained():
    said = []
    runner = SimpleNamespace(
        model=Detector(0.3), logger=SimpleNamespace(warning=lambda text: said.append(text))
    )
    hook = EmptyResultsHook()
    for threshold in (0.2, 0.5):
        runner.model.test_cfg.rcnn.score_thr = threshold
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0, None, runner.model.test_step(None))
        hook.after_val_epoch(runner)
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, None, [{'pred_sem_seg': 1}])
    hook.after_test_epoch(runner)
    assert len(said) == 1 and said[0].startswith('nothing was detected in 1 image: the highest')


def run(classes, categories, num_classes=2):
    """Return the parts of a Runner that ClassesHook reads in a test."""
    api = SimpleNamespace(dataset=dict(categories=[dict(name=name) for name in categories]))
    metric = SimpleNamespace(dataset_meta=dict(classes=classes), _coco_api=api)
    return SimpleNamespace(
        model=Detector(num_classes=num_classes),
        cfg=Config(dict(test_dataloader=dict(dataset=dict(type='CocoDataset')))),
        test_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes))),
        test_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=[metric])),
    )


def test_classes_that_agree_pass_and_further_categories_do_no_harm():
    ClassesHook().before_test(run(('cat', 'dog'), ('cat', 'cow', 'dog')))


@pytest.mark.parametrize(
    'classes, categories, number, message',
    [
        (
            ('cat', 'dog'),
            ('cat', 'dog'),
            80,
            'model.head has num_classes=80, but the data set has 2',
        ),
        (('cat', 'dog'), ('cat', 'hound'), 2, "has no category 'dog'"),
        (('cat', 'dog'), ('dog', 'cat'), 2, 'another order'),
    ],
)
def test_classes_that_differ_stop_the_run(classes, categories, number, message):
    with pytest.raises(UserError) as error:
        ClassesHook().before_test(run(classes, categories, number))
    assert message in str(error.value)
