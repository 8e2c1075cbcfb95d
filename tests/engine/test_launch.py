"""What the tools make of their options before anything runs."""

from argparse import Namespace

import pytest
from mmengine.config import Config

from convnext_mm.config.reading import work_dir_of
from convnext_mm.engine import launch


def test_resuming_without_a_checkpoint_begins_with_the_weights_of_the_config(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(launch, 'log_once', said.append)
    cfg = Config(dict(work_dir=str(tmp_path), load_from='coco.pth'))
    launch._resume(cfg, 'auto')
    assert cfg.load_from == 'coco.pth' and not cfg.get('resume')
    assert said == [f'--resume: no checkpoint in {tmp_path}: training starts from the beginning']
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    launch._resume(cfg, 'auto')
    assert (cfg.load_from, cfg.resume) == (None, True)  # MMEngine finds it
    launch._resume(cfg, 'epoch_3.pth')
    assert (cfg.load_from, cfg.resume) == ('epoch_3.pth', True)


@pytest.mark.parametrize('stated', ["'here'", 'None'])
def test_a_run_is_where_the_config_says(stated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'small.py').write_text(f'work_dir = {stated}')
    options = dict(config='small.py', cfg_options=None, launcher='none', local_rank=0)
    cfg = launch._read_config(Namespace(**options, work_dir=None))
    assert cfg.work_dir == ('here' if stated != 'None' else 'work_dirs/small')
    assert launch._read_config(Namespace(**options, work_dir='told')).work_dir == 'told'


@pytest.mark.parametrize('left', ['last_checkpoint', '20260101_000000/vis_data/scalars.json'])
def test_a_config_in_a_runs_folder_belongs_to_that_run(left, tmp_path):
    config = tmp_path / 'own_data.py'
    assert str(work_dir_of(Config(), config)) == 'work_dirs/own_data'
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).touch()
    assert work_dir_of(Config(), config) == tmp_path
    assert str(work_dir_of(Config(dict(work_dir='stated')), config)) == 'stated'
