"""A checkpoint is read by PyTorch alone, and by MMEngine's Runner; older ones still resume."""

import time

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner as MMEngineRunner

from convnext_mm.engine.plain_checkpoints import unpack
from tests.engine import toy_training
from tests.engine.test_resume_exactly import assert_same, history_of
from tests.engine.toy_training import config, end_of, run

pytestmark = [
    pytest.mark.filterwarnings('ignore:The distutils package is deprecated:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:Detected call of `scheduler.step:UserWarning'),
]


@pytest.fixture
def no_allowed_types():
    """Torch allows the types of a new process only."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.add_safe_globals(allowed)


def test_a_checkpoint_holds_no_objects_that_torch_must_be_told_of(
    tmp_path, monkeypatch, no_allowed_types
):
    cfg = config(tmp_path)
    cfg['default_hooks']['checkpoint'].update(save_best='mean', rule='greater')
    as_numpy = lambda self, results: dict(mean=np.mean(results))  # noqa: E731
    monkeypatch.setattr(toy_training.MeanOutput, 'compute_metrics', as_numpy)
    metainfo = dict(classes=('a',), palette=np.zeros((1, 3), np.uint8))
    monkeypatch.setattr(toy_training.NoisyPoints, 'metainfo', metainfo)
    run(cfg, kill_after=9)
    for path in (tmp_path / 'iter_9.pth', next(tmp_path.glob('best_mean_*.pth'))):
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint['meta']['dataset_meta']['palette'] == [[0, 0, 0]]
        assert 'train/loss' in checkpoint['log_history']
    assert type(checkpoint['message_hub']['runtime_info']['best_score']) is float


def test_a_checkpoint_with_the_objects_of_mmengine_resumes_exactly(tmp_path):
    whole = run(config(tmp_path / 'whole'))
    run(config(tmp_path / 'broken'), kill_after=8)
    for path in (tmp_path / 'broken').glob('*.pth'):
        checkpoint = torch.load(path, weights_only=True)
        unpack(checkpoint)
        torch.save(checkpoint, path)
    resumed = run(config(tmp_path / 'broken'), resume=True)
    assert_same(end_of(resumed), end_of(whole))
    assert history_of(resumed, 'train/loss') == history_of(whole, 'train/loss')


def test_the_runner_of_mmengine_resumes_from_our_checkpoint(tmp_path, capfd):
    cfg = config(tmp_path)
    cfg['custom_hooks'] = []
    run(cfg, kill_after=8)
    cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=-1)
    cfg.update(resume=True, load_from=str(tmp_path / 'iter_8.pth'), log_level='WARNING')
    runner = MMEngineRunner.from_cfg(Config(dict(cfg, experiment_name=f'{time.monotonic_ns()}')))
    runner.train()
    assert runner.epoch == 3
    said = capfd.readouterr()
    assert 'message_hub' not in said.out + said.err
