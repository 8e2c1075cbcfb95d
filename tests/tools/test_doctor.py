"""tools/doctor.py as a user calls it, and each of its findings on what is broken for it."""

import runpy
import sys
import warnings
from importlib import metadata
from types import ModuleType
from urllib.error import HTTPError, URLError

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from convnext_mm.diagnose.doctor import installation, models, recipe, run
from convnext_mm.diagnose.doctor.findings import Level, guarded, ok
from tests.conftest import ROOT, run_tool
from tests.small_models import segmentor, write_model

SHAPES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')


@pytest.fixture(scope='module')
def detector(small_detector, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('detector'), small_detector, SHAPES)


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(request, timeout):
        raise URLError('no network')

    monkeypatch.setattr(recipe, 'urlopen', unreachable)


def findings(config, checkpoint=None, **options):
    """Subject -> the findings on a config's recipe."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    found = {}
    for finding in recipe.check_recipe(cfg, checkpoint and str(checkpoint)):
        found.setdefault(finding.subject, []).append(finding)
    return found


def wrong(found):
    """The findings that are wrong, as text with what to do."""
    return [
        f'{f.subject}: {f.text} {f.todo}'
        for group in found.values()
        for f in group
        if f.level is Level.WRONG
    ]


def test_a_sound_installation_and_config_end_in_all_is_well(detector):
    done = run_tool('doctor.py', detector, detector.with_name('model.pth'))
    said = ' '.join(done.output.split())
    assert done.code == 0, done.output
    for line in (
        '✓ mmcv 2',
        '✓ MMCV ops, cpu nms and RoIAlign',
        '✓ registries mmdet and mmseg know ConvNeXt',
        '✓ Cascade Mask R-CNN forward and backward',
        '✓ UperNet forward and backward',
        '✓ data the files of the config are there',
        '✓ weights none: the backbone starts from scratch',
        '✓ channels [40, 80, 160, 320] from the backbone to model.neck',
        '✓ classes 6 classes (circle, square, triangle, star, ...) in the data sets and every head',
        '✓ learning rates up to 0.0015 in 2 groups',
        'All is well',
    ):
        assert line in said, done.output
    assert 'fits the config, 6 classes' in said
    assert 'Warning' not in said and 'Traceback' not in said


def test_what_is_wrong_makes_the_exit_code_1_and_a_missing_config_2(detector, monkeypatch, capsys):
    for name in ('check_installation', 'check_models'):
        monkeypatch.setattr(run, name, lambda: ())

    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'setLevel', lambda level: None)  # it is every test's

    def code(*arguments):
        monkeypatch.setattr(sys, 'argv', ['doctor.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as finished, warnings.catch_warnings():
            runpy.run_path(str(ROOT / 'tools' / 'doctor.py'), run_name='__main__')
        return finished.value.code

    assert code() == 0
    assert code(detector, '--cfg-options', 'model.neck.in_channels=[1,2,3,4]') == 1
    assert '1 thing to put right' in capsys.readouterr().out
    assert code('no.py') == 2
    assert capsys.readouterr().err == 'error: no.py: no such file\n'


def test_without_a_package_there_is_one_clear_line(tmp_path):
    (tmp_path / 'mmengine.py').write_text("raise ModuleNotFoundError('No module named mmengine')")
    done = run_tool('doctor.py', pythonpath=tmp_path)
    assert done.code == 1
    assert 'error: convnext_mm needs MMEngine' in done.output and 'make setup' in done.output
    assert 'Traceback' not in done.output


def test_with_a_broken_mmcv_the_rest_is_checked_all_the_same(tmp_path):
    (tmp_path / 'mmcv.py').write_text('raise ModuleNotFoundError("No module named \'mmcv._ext\'")')
    done = run_tool('doctor.py', pythonpath=tmp_path)
    said = ' '.join(done.output.split())
    assert done.code == 1 and 'Traceback' not in said
    assert "✗ mmcv cannot be imported: No module named 'mmcv._ext'" in said
    assert 'make setup compiles them' in said and '✓ disk' in said
    assert 'Heads and configs are checked when these packages can be imported. 1 thing' in said


# --- the config ------------------------------------------------------------------------------


def test_channels_that_do_not_match_are_told_with_the_right_ones(detector, shapes_ade, tmp_path):
    (found,) = wrong(findings(detector, **{'model.neck.in_channels': [96, 192, 384, 768]}))
    assert 'model.neck.in_channels is [96, 192, 384, 768]' in found
    assert 'set model.neck.in_channels=[40, 80, 160, 320]' in found
    config = tmp_path / 'segmentor.py'
    config.write_text(segmentor(shapes_ade))
    assert wrong(findings(config)) == []
    (found,) = wrong(findings(config, **{'model.auxiliary_head.in_channels': 384}))
    assert 'model.auxiliary_head.in_channels is 384, and the backbone gives 24' in found


def test_a_neck_that_skips_a_map_is_noted(detector):
    (note,) = findings(detector, **{'model.neck.start_level': 1})['channels']
    assert note.level is Level.NOTE and 'does not read the first 1' in note.text
    assert 'model.backbone.out_indices=(1, 2, 3)' in note.todo


def test_numbers_and_names_of_classes_that_differ_are_told(detector, shapes_coco, tmp_path):
    found = wrong(findings(detector, **{'model.roi_head.mask_head.num_classes': 80}))
    assert len(found) == 1
    assert 'model.roi_head.mask_head.num_classes is 80, and the data set has 6' in found[0]
    found = wrong(
        findings(detector, **{'train_dataloader.dataset.metainfo.classes': (*SHAPES[:5], 'disc')})
    )
    assert any('train_dataloader has 6 classes (circle' in line for line in found)
    assert any("has no category 'disc'" in line for line in found)


def test_categories_that_are_not_used_are_noted(detector):
    subset = {
        f'{split}_dataloader.dataset.metainfo.classes': SHAPES[:5] for split in ('train', 'val')
    }
    found = findings(detector, **subset)['classes']
    assert any('1 class (ring)' in f.text and f.level is Level.NOTE for f in found)


def test_missing_data_are_told_with_how_to_get_them(no_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = findings(ROOT / 'configs/cascade/convnext_t_coco.py')
    (line,) = wrong(found)
    assert 'data: the data set is not there' in line and 'tools/prepare_coco.py --download' in line


@pytest.mark.parametrize(
    'answer, level, text',
    [
        (URLError('no network'), Level.NOTE, 'cannot be reached now: no network'),
        (HTTPError('url', 404, 'Not Found', {}, None), Level.WRONG, 'answers 404 Not Found'),
    ],
)
def test_weights_are_looked_for_and_not_downloaded(tmp_path, monkeypatch, answer, level, text):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))

    def refuse(request, timeout):
        assert request.get_method() == 'HEAD'
        raise answer

    def weights(source):
        init = dict(type='ConvNeXtPretrained', checkpoint=source)
        cfg = Config(dict(model=dict(backbone=dict(init_cfg=init))))
        return one(guarded('weights', recipe._weights, cfg))

    monkeypatch.setattr(recipe, 'urlopen', refuse)
    found = weights('convnext_tiny_in1k')
    assert found.level is level and text in found.text
    cached = tmp_path / 'checkpoints' / 'convnext_tiny_1k_224.pth'
    cached.parent.mkdir()
    cached.touch()
    found = weights('convnext_tiny_in1k')
    assert found.level is Level.OK and str(cached) in found.text
    found = weights('timm://convnext_tiny.fb_in1k')
    assert 'timm/convnext_tiny.fb_in1k/resolve/main/model.safetensors' in found.text
    cached = tmp_path / 'checkpoints' / 'timm--convnext_tiny.fb_in1k' / 'model.safetensors'
    cached.parent.mkdir()
    cached.touch()
    assert weights('timm://convnext_tiny.fb_in1k').level is Level.OK
    found = weights('convnext_tony')
    assert found.level is Level.WRONG and 'convnext_tiny' in found.text


def test_rates_batch_and_workers_are_judged(detector, no_network):
    found = findings(
        detector,
        **{
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 999,
            'optim_wrapper.paramwise_cfg.num_layers': 12,
        },
    )
    (line,) = wrong(found)
    assert 'learning rates: paramwise_cfg: num_layers=12 does not fit' in line
    assert 'the learning rate is for 4' in found['batch size'][0].text
    assert '--accumulate' in found['batch size'][0].todo
    assert 'num_workers=' in found['data-loader workers'][0].todo
    absolute = dict(type='CosineAnnealingLR', T_max=2, end=2, eta_min=1e-4)
    found = findings(
        detector,
        **{'param_scheduler': [absolute], 'optim_wrapper.paramwise_cfg.decay_rate': 0.5},
    )
    assert 'flattens their decay' in wrong(found)[0]


def test_a_checkpoint_of_another_model_or_other_classes_is_told(
    detector, shapes_ade, small_detector, tmp_path
):
    write_model(tmp_path, segmentor(shapes_ade))
    (line,) = wrong(findings(detector, tmp_path / 'model.pth'))
    assert 'checkpoint: ' in line and 'does not fit' in line
    write_model(tmp_path, small_detector, tuple('abcdef'))
    (line,) = wrong(findings(detector, tmp_path / 'model.pth'))
    assert 'was trained on 6 classes (a, b, c, d, ...)' in line


# --- the installation ------------------------------------------------------------------------


def one(found):
    (finding,) = found
    return finding


def test_a_check_that_fails_is_a_finding_with_advice():
    def fails(error):
        raise error

    found = one(guarded('mmcv', fails, ModuleNotFoundError("No module named 'mmcv._ext'")))
    assert found.level is Level.WRONG and 'make setup' in found.todo
    found = one(guarded('x', fails, RuntimeError('first line\nsecond')))
    assert (found.text, found.todo) == ('first line', 'second')
    assert one(guarded('x', lambda: ok('x', 'fine'))).level is Level.OK


def test_both_families_of_packages_at_once_are_wrong(monkeypatch):
    monkeypatch.setattr(
        metadata,
        'packages_distributions',
        lambda: {'mmcv': ['mmcv', 'onedl-mmcv'], 'mmdet': ['mmdet']},
    )
    found = installation._one_family()
    assert found.level is Level.WRONG and 'mmcv (mmcv and onedl-mmcv)' in found.text


def test_a_version_out_of_range_and_a_missing_package_are_wrong(monkeypatch):
    monkeypatch.setattr(metadata, 'version', lambda name: '2.2.0')
    found = installation._package('mmcv')
    assert found.level is Level.WRONG and '2.2.0' in found.text and '<2.2' in found.todo
    monkeypatch.setattr(metadata, 'packages_distributions', lambda: {})
    assert 'is not installed' in installation._package('mmcv').text


@pytest.mark.parametrize(
    'cuda, text', [(None, 'built without CUDA'), ('13.0', 'for CUDA 13.0 sees none')]
)
def test_a_gpu_that_pytorch_does_not_see_is_wrong(monkeypatch, cuda, text):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    monkeypatch.setattr(installation.shutil, 'which', lambda name: f'/usr/bin/{name}')
    version, gpu = installation._pytorch()
    assert version.level is Level.OK
    assert gpu.level is Level.WRONG and text in gpu.text


def test_a_torchvision_for_another_torch_is_wrong(monkeypatch):
    def no_operator(*_):
        raise RuntimeError('operator torchvision::nms does not exist')

    fake = ModuleType('torchvision')
    fake.ops = ModuleType('ops')
    fake.ops.nms = no_operator
    fake.__spec__ = object()
    monkeypatch.setitem(sys.modules, 'torchvision', fake)
    monkeypatch.setattr(metadata, 'version', lambda name: '0.1')
    found = installation._torchvision()
    assert found.level is Level.WRONG and 'operator torchvision::nms' in found.text


def test_operators_that_give_wrong_results_are_wrong(monkeypatch):
    import mmcv.ops

    monkeypatch.setattr(mmcv.ops, 'nms', lambda boxes, scores, threshold: (boxes, scores))
    assert installation._operators('cpu').level is Level.WRONG


def test_without_pkg_resources_it_says_which_setuptools(monkeypatch):
    monkeypatch.setattr(installation.importlib.util, 'find_spec', lambda name: None)
    assert installation._setuptools().todo == "pip install 'setuptools<82'"


def test_a_full_disk_is_wrong(monkeypatch):
    class Usage:
        free = 2**28

    monkeypatch.setattr(installation.shutil, 'disk_usage', lambda path: Usage)
    assert installation._disk().level is Level.WRONG


def test_every_family_of_heads_takes_a_step():
    found = list(models.check_models())
    assert [f.subject for f in found] == [
        'Mask R-CNN',
        'Cascade Mask R-CNN',
        'RetinaNet',
        'UperNet',
    ]
    assert {f.level for f in found} == {Level.OK}, found
