"""tools/roadmap.py: the trainings, their resumption, the comparison with the paper, the page."""

import json

import pytest
from mmengine.config import Config
from rich.console import Console

from convnext_mm.errors import UserError
from convnext_mm.experiments import roadmap
from convnext_mm.experiments.roadmap import Measured, compare_steps, verdict, verdicts
from convnext_mm.experiments.roadmap_page import rows, write_page
from convnext_mm.experiments.runs import Run, run_all
from convnext_mm.roadmap import STEPS
from tests.conftest import ROOT, run_tool

CONFIG = ROOT / 'configs/roadmap/atss_shapes.py'


@pytest.fixture(scope='module')
def recipe():
    return Config.fromfile(CONFIG)


def measured(name, *ap):
    return Measured(name, gflops=0.09, params=1.5, ap=dict(enumerate(ap)))


def test_one_command_trains_writes_and_the_next_runs_nothing_again(tmp_path, shapes_coco):
    arguments = [
        *('roadmap.py', '--data', shapes_coco, '--work-dir', tmp_path, '--steps', 'gelu'),
        *('--seeds', 3, '--iterations', 2, '--jobs', 1, '--cfg-options', 'model.backbone.width=6'),
    ]
    done = run_tool(*arguments)
    assert done.code == 0, done.output
    result = tmp_path / 'gelu_3' / 'result.json'
    (found,) = json.loads((tmp_path / 'roadmap.json').read_text())
    assert found['ap'] == {'3': 100 * json.loads(result.read_text())['coco/bbox_mAP']}
    for name in ('roadmap.html', 'roadmap.png'):
        assert (tmp_path / name).stat().st_size > 5000
        assert f'written: {tmp_path / name}' in done.output

    written = result.stat().st_mtime_ns
    (tmp_path / 'roadmap.html').unlink()
    assert run_tool(*arguments).code == 0
    assert result.stat().st_mtime_ns == written
    assert (tmp_path / 'roadmap.html').exists()


def test_a_folder_with_results_of_other_settings_is_refused(tmp_path):
    settings = dict(train_cfg=dict(max_iters=1), work_dir=str(tmp_path))
    (tmp_path / 'config.py').write_text(Config(settings).pretty_text)
    settings['train_cfg']['max_iters'] = 2
    with pytest.raises(UserError, match=f'{tmp_path} has results of other settings: give another'):
        run_all([Run('gelu with seed 0', Config(settings))], 1, Console(quiet=True))


def test_a_failed_training_is_named_with_its_error(tmp_path):
    broken = Config(dict(train_cfg=dict(max_iters=1), work_dir=str(tmp_path / 'gelu_0')))
    with pytest.raises(UserError) as failure:
        run_all([Run('gelu with seed 0', broken)], 1, Console(quiet=True))
    assert 'the training gelu with seed 0 failed: ' in str(failure.value)
    assert 'model' in str(failure.value)
    assert str(failure.value).endswith(f'({tmp_path}/gelu_0/output.txt)')


@pytest.mark.parametrize('name', roadmap.REFERENCES)
def test_a_reference_has_about_the_flops_of_the_last_step(recipe, name):
    cfg = roadmap._with_reference(recipe, name)
    last = roadmap._backbone(roadmap._with_step(recipe, STEPS[-1]))
    assert roadmap._backbone(cfg).flops == pytest.approx(last.flops, rel=0.05)


def test_every_step_has_the_budget_and_the_recipe_of_the_others(recipe):
    configs = [roadmap._with_step(recipe, name) for name in (STEPS[0], 'gelu', STEPS[-1])]
    for cfg in configs:
        cfg.model.backbone.step = STEPS[-1]
        cfg.model.neck.in_channels = None
    assert len({cfg.pretty_text for cfg in configs}) == 1


def test_the_schedule_is_rescaled_to_the_given_length(recipe):
    cfg = Config(recipe.to_dict())
    roadmap._set_length(cfg, 150)
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (150, 150)
    assert [s.end for s in cfg.param_scheduler] == [15, 150]
    assert cfg.param_scheduler[1].T_max == 135 + 15 - cfg.param_scheduler[1].begin


@pytest.mark.parametrize(
    'before, after, expected',
    [
        (('patchify_stem', 30, 31, 32), ('depthwise', 20, 21, 22), 'agrees'),
        (('patchify_stem', 30, 31, 32), ('depthwise', 40, 41, 42), 'disagrees'),
        (('patchify_stem', 30, 31, 32), ('depthwise', 29, 31, 33), 'not clear here'),
        (('kernel_7', 30, 31, 32), ('gelu', 40, 41, 42), 'not clear in the paper'),
        (('patchify_stem', 30), ('depthwise', 20), 'one seed'),
    ],
)
def test_a_change_agrees_with_the_paper_only_if_it_is_clear_in_both(before, after, expected):
    assert verdict(measured(*before), measured(*after)) == expected


def test_a_step_is_compared_with_the_step_that_it_builds_on():
    found = [
        *(measured('depthwise_first', 30, 31), measured('kernel_7', 40, 41)),
        *(measured('kernel_9', 50, 51), measured('gelu', 60, 61), measured('layer_norm', 1, 2)),
        measured('mmdet swin', 5, 6),
    ]
    assert set(verdicts(found)) == {'kernel_7', 'kernel_9', 'gelu'}


def test_the_page_shows_every_network_with_its_figures(tmp_path):
    found = [measured('resnet', 30.04, 31.0), measured('mmdet swin', 5.0, 6.0)]
    page, picture = write_page(found, tmp_path)
    text = page.read_text()
    for cell in ('30.5 ± 0.7', '78.82 ± 0.07', '4.09G', '90M', 'mmdet swin', '5.5 ± 0.7'):
        assert cell in text, cell
    assert picture.read_bytes().startswith(b'\x89PNG')
    assert [row[0] for row in rows(found)] == ['resnet', 'mmdet swin']


@pytest.mark.parametrize(
    'config', ['upernet/convnext_t_ade20k', 'cascade/convnext_atto_shapes'], ids=['maps', 'epochs']
)
def test_a_config_that_does_not_suit_is_refused(tmp_path, config):
    with pytest.raises(UserError, match=f'{config} does not suit: it must be a detector with a'):
        compare_steps(config, tmp_path)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(steps=['gelu', 'relu']), "step 'relu' is unknown; allowed: resnet, stage_ratio"),
        (dict(references=['vit']), "reference 'vit' is unknown; allowed: resnet, swin"),
        (dict(seeds=[1, 1]), r'seeds=\[1, 1\]: give at least one, and each only once'),
        (dict(seeds=[]), 'give at least one'),
        (dict(jobs=0), 'jobs=0 must be at least 1'),
        (dict(iterations=0), 'iterations=0 must be at least 1'),
    ],
)
def test_an_error_names_the_bad_argument(tmp_path, shapes_coco, arguments, message):
    with pytest.raises(UserError, match=message):
        compare_steps(CONFIG, tmp_path, data=shapes_coco, **arguments)
