"""A training keeps predictions for its report; a failing report does not stop a training."""

from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample

from convnext_mm.engine.hooks import report as hook_module
from convnext_mm.engine.hooks.report import ReportHook
from convnext_mm.evaluation.coco import FastCocoMetric
from convnext_mm.evaluation.results.label_maps import pair_of, record_of


class Loader(list):
    dataset = [None]


def evaluated(cfg, folder):
    """Return a hook after the evaluation of a detector on one image, and its runner."""
    metric = CocoMetric()
    runner = SimpleNamespace(
        val_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=[metric])),
        val_dataloader=Loader([None]),
        **dict(cfg=Config(cfg), epoch=3, work_dir=str(folder), logger=Mock()),
    )
    hook = ReportHook('model.py')
    hook.before_train(runner)
    hook.before_val_epoch(runner)
    empty = dict(bboxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int), masks=[])
    metric.results.append(({}, dict(img_id=7, **empty)))
    sample = SimpleNamespace(img_id=7, get=dict(img_path='7.jpg').get)
    hook.after_val_iter(runner, 0, None, [sample])
    metric.results.clear()  # as MMEngine does after each evaluation
    hook.after_val_epoch(runner)
    return hook, runner


@pytest.mark.parametrize(
    'evaluator, reason',
    [
        (dict(), 'no report: the report needs the ground truth, but val_evaluator has no ann_file'),
        (dict(ann_file=7), 'no report because of TypeError: '),
    ],
)
def test_a_report_that_fails_is_a_warning_with_the_reason(evaluator, reason, tmp_path):
    loader = dict(dataset=dict(type='mmdet.CocoDataset'))
    cfg = dict(train_cfg=dict(max_epochs=3), val_dataloader=loader, val_evaluator=evaluator)
    hook, runner = evaluated(cfg, tmp_path)
    hook.after_train(runner)
    ((message,), _) = runner.logger.warning.call_args
    assert message.startswith(reason)
    assert list(tmp_path.iterdir()) == []


def test_predictions_that_cannot_be_kept_are_a_warning_and_the_evaluation_continues(tmp_path):
    hook, runner = evaluated(dict(train_cfg=dict(max_epochs=3)), tmp_path)
    hook.after_val_iter(runner, 0, None, [object()])
    hook.after_val_iter(runner, 0, None, [object()])
    hook.after_train(runner)
    ((message,), _) = runner.logger.warning.call_args_list[-1]
    assert runner.logger.warning.call_count == 1 and 'AttributeError' in message


def test_no_process_waits_for_another_one_without_predictions(tmp_path, monkeypatch):
    def collect(*_):
        pytest.fail('it would wait forever')

    monkeypatch.setattr(hook_module, 'collect_results', collect)
    monkeypatch.setattr(hook_module, 'all_gather_object', lambda kept: [kept, False])
    hook, runner = evaluated(dict(train_cfg=dict(max_epochs=3)), tmp_path)
    hook.after_train(runner)
    runner.logger.warning.assert_called_once_with(
        'no report: another process has no predictions for it'
    )


def test_without_an_evaluation_there_is_no_report(tmp_path):
    runner = SimpleNamespace(val_loop=None, work_dir=str(tmp_path), logger=Mock())
    hook = ReportHook('model.py')
    hook.before_train(runner)
    hook.after_train(runner)
    assert runner.logger.mock_calls == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'metric', [FastCocoMetric(), CocoMetric(), IoUMetric(), DumpResults('a.pkl')]
)
def test_metrics_with_a_report_are_found_also_by_their_base_class(metric):
    others = [DumpResults('b.pkl')]
    evaluator = SimpleNamespace(metrics=[*others, metric])
    hook = ReportHook('model.py')
    hook.before_train(SimpleNamespace(val_loop=SimpleNamespace(evaluator=evaluator)))
    assert hook._metric is (None if isinstance(metric, DumpResults) else metric)


@pytest.mark.parametrize('classes', [150, 300])
def test_label_maps_are_compressed_without_loss(classes):
    truth = torch.zeros(1, 200, 300, dtype=torch.long)
    truth[:, 50:] = classes - 1
    truth[:, :5] = 255
    sample = SegDataSample(metainfo=dict(img_path='a.jpg'))
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=truth.flip(1))
    packed = record_of(sample)
    assert packed['img_path'] == 'a.jpg'
    assert len(packed['gt_sem_seg']['data']) < 3000
    again, found = pair_of(packed)
    assert np.array_equal(again, truth[0]) and np.array_equal(found, truth[0].flip(0))
