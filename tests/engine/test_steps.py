"""The steps from a config to a training: what each changes, and that it changes a copy."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS

from convnext_mm import engine
from convnext_mm.config.reading import find_work_dir
from convnext_mm.engine import training
from convnext_mm.engine.hooks.checkpoint import ReliableCheckpointHook
from convnext_mm.engine.setup import (
    distribute_without_gpu,
    fetch_weights,
    keep_config_file,
    read_config,
)
from convnext_mm.errors import DownloadError, UserError, WeightsError


def test_resuming_without_a_checkpoint_begins_with_the_weights_of_the_config(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(training, 'log_once', lambda text, *_: said.append(text))
    cfg = Config(dict(work_dir=str(tmp_path), load_from='coco.pth'))
    resumed = training.resume_from(cfg, True)
    assert resumed.load_from == 'coco.pth' and not resumed.get('resume')
    assert said == [
        f'resume: no checkpoint in {tmp_path}, so training starts from the beginning',
    ]
    older, newest = tmp_path / 'epoch_3.pth', tmp_path / 'iter_20.pth'
    for seconds, path in enumerate((older, newest)):
        torch.save(dict(state_dict={}), path)
        os.utime(path, (seconds, seconds))
    resumed = training.resume_from(cfg, True)
    assert (resumed.load_from, resumed.resume) == (str(newest), True)
    resumed = training.resume_from(cfg, older)
    assert (resumed.load_from, resumed.resume) == (str(older), True)
    newest.write_bytes(newest.read_bytes()[:50])
    assert training.resume_from(cfg, True).load_from == str(older)
    with pytest.raises(UserError, match=r'--resume .*iter_20.pth: it is damaged or was cut short'):
        training.resume_from(cfg, newest)
    assert cfg.load_from == 'coco.pth' and 'resume' not in cfg


@pytest.mark.parametrize(
    'hooks', [{}, dict(checkpoint=dict(type='CheckpointHook', interval=2)), dict(checkpoint=None)]
)
def test_checkpoints_are_written_by_our_hook_unless_the_config_wants_none(hooks):
    cfg = Config(dict(default_hooks=hooks))
    written = training.write_checkpoints_reliably(cfg, minutes=5).default_hooks.checkpoint
    if hooks and hooks['checkpoint'] is None:
        assert written is None
        return
    hook = HOOKS.build(written)
    assert isinstance(hook, ReliableCheckpointHook) and hook.minutes == 5
    assert hook.interval == (2 if hooks else -1)
    cfg = Config(dict(default_hooks=dict(checkpoint=written)))  # as a config that was run
    again = training.write_checkpoints_reliably(cfg, minutes=1).default_hooks.checkpoint
    assert HOOKS.build(again).minutes == 1


@pytest.mark.parametrize('stated', ["'here'", 'None'])
def test_a_run_is_where_the_config_says(stated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'small.py').write_text(f'work_dir = {stated}')
    cfg = read_config('small.py')
    assert cfg.work_dir == ('here' if stated != 'None' else 'work_dirs/small')
    assert read_config('small.py', work_dir='told').work_dir == 'told'


@pytest.mark.parametrize('left', ['last_checkpoint', '20260101_000000/vis_data/scalars.json'])
def test_a_config_in_the_folder_of_a_run_belongs_to_that_run(left, tmp_path):
    config = tmp_path / 'own_data.py'
    config.touch()
    cfg = Config.fromfile(config)
    assert str(find_work_dir(cfg)) == 'work_dirs/own_data'
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).touch()
    assert find_work_dir(cfg) == tmp_path
    cfg.work_dir = 'stated'
    assert str(find_work_dir(cfg)) == 'stated'


def test_a_config_in_the_work_dir_is_not_overwritten(tmp_path):
    (tmp_path / 'own_data.py').write_text('lr = 1')
    elsewhere = read_config(tmp_path / 'own_data.py', work_dir=tmp_path / 'work')
    assert keep_config_file(elsewhere) is elsewhere
    beside = keep_config_file(read_config(tmp_path / 'own_data.py', work_dir=tmp_path))
    assert beside.filename == str(tmp_path / 'own_data_as_run.py') and beside.lr == 1


def test_a_config_from_python_is_copied_and_needs_a_work_dir():
    cfg = Config(dict(lr=1))
    assert read_config(cfg, options=dict(lr=2), work_dir='there').lr == 2
    assert cfg.to_dict() == dict(lr=1)
    with pytest.raises(UserError, match='give a work_dir'):
        read_config(cfg)


def test_mixed_precision_is_left_out_without_a_gpu(monkeypatch):
    monkeypatch.setattr(training.torch.cuda, 'is_available', lambda: False)
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    mixed = training.use_mixed_precision(cfg)
    assert mixed.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')
    assert training.train_in_fp32_without_gpu(mixed).optim_wrapper == cfg.optim_wrapper


def test_two_ways_to_deal_with_the_batch_size_are_an_error():
    with pytest.raises(UserError, match='exclude each other'):
        engine.train('any.py', accumulate=True, auto_scale_lr=True)


@pytest.mark.parametrize('minutes', [-1, float('nan')])
def test_a_negative_time_between_checkpoints_is_an_error(minutes):
    with pytest.raises(UserError, match=r'checkpoint_minutes=.* must be 0, for never, or more'):
        engine.train('any.py', checkpoint_minutes=minutes)


def test_an_empty_path_is_not_the_default(tmp_path):
    config = tmp_path / 'small.py'
    config.touch()
    with pytest.raises(UserError, match='the path of the work dir is empty'):
        find_work_dir(Config.fromfile(config), '')


def test_an_evaluation_with_a_part_missing_is_refused():
    cfg = Config(dict(model=dict(), val_dataloader=dict(), test_cfg=dict()))
    with pytest.raises(UserError, match='it has val_dataloader, and no val_cfg, val_evaluator: '):
        read_config(cfg)


def test_a_file_that_is_no_config_of_a_run_is_refused(tmp_path):
    file = tmp_path / 'instances_train.json'
    file.write_text('{"images": [], "annotations": [], "categories": []}')
    for start in (engine.train, lambda file: engine.test(file, 'any.pth')):
        with pytest.raises(UserError, match='not the config of a run: it has no model, t'):
            start(file)


def test_the_package_has_train_and_test_without_loading_them(monkeypatch):
    import convnext_mm

    assert convnext_mm.train is engine.train and convnext_mm.test is engine.test
    with pytest.raises(AttributeError, match='has no attribute'):
        convnext_mm.fit  # noqa: B018


def test_weights_of_the_backbone_that_a_whole_detector_replaces_are_not_downloaded(
    small_detector, tmp_path
):
    config, trained = tmp_path / 'small.py', tmp_path / 'trained.pth'
    nowhere = dict(type='ConvNeXtPretrained', checkpoint='http://127.0.0.1:9/none.pth')
    config.write_text(small_detector)
    cfg = read_config(config)
    model = MODELS.build(dict(cfg.model, _scope_='mmdet'))
    torch.save(dict(state_dict=model.state_dict()), trained)
    others = cfg.model.backbone.init_cfg
    cfg.model.backbone.init_cfg = [*others, nowhere]
    with pytest.raises(DownloadError):
        fetch_weights(cfg)
    cfg.load_from = str(trained)
    fetched, content = fetch_weights(cfg)
    assert fetched.model.backbone.init_cfg == others and fetched.load_from == str(trained)
    assert content['state_dict'].keys() == model.state_dict().keys()
    assert cfg.model.backbone.init_cfg[-1] == nowhere
    # A file without the whole backbone is still refused.
    part = {k: v for k, v in model.state_dict().items() if not k.startswith('backbone.stages.3')}
    torch.save(dict(state_dict=part), trained)
    with pytest.raises(WeightsError, match='does not fit'):
        fetch_weights(cfg)
    # Another model's backbone keeps its weights: nothing says that the file has all of it.
    cfg.model.backbone.type = 'mmpretrain.ConvNeXt'
    with pytest.raises(DownloadError):
        fetch_weights(cfg)


@pytest.mark.parametrize('name', ['SyncBN', 'mmengine.SyncBN', 'torch.nn.SyncBatchNorm'])
def test_without_a_gpu_batch_norm_is_not_synchronised_under_any_of_its_names(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    environment = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    cfg = Config(dict(launcher='pytorch', model=dict(norm_cfg=dict(type=name))))
    try:
        assert distribute_without_gpu(cfg).model.norm_cfg.type == 'BN'
    finally:
        torch.distributed.destroy_process_group()
    assert cfg.model.norm_cfg.type == name
