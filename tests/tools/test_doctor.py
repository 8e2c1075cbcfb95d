"""tools/doctor.py as a user calls it, and each of its findings in a broken installation."""

import json
import runpy
import sys
import warnings
from importlib import metadata
from pathlib import Path
from types import ModuleType
from urllib.error import HTTPError, URLError

import pytest
import torch
from huggingface_hub import constants
from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console

from convnext_mm.cli import doctor
from convnext_mm.diagnose.doctor import bug_report, examination, installation
from convnext_mm.diagnose.doctor.guard import guarded
from convnext_mm.diagnose.doctor.pages import PAGES
from convnext_mm.diagnose.doctor.training_step import check_training_steps
from convnext_mm.diagnose.recipe_checks import weight_sources
from convnext_mm.messages.findings import Level, error, errors_in, note, ok
from tests.conftest import ROOT, run_tool
from tests.servers import fill_hub_cache
from tests.small_models import segmentor, write_model
from tests.test_docs import anchors

SHAPES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')


@pytest.fixture(scope='module')
def detector(small_detector, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('detector'), small_detector, SHAPES)


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(request, timeout):
        raise URLError('no network')

    monkeypatch.setattr(weight_sources, 'urlopen', unreachable)


def findings(config, checkpoint=None, **options):
    """Return the findings of a config by the place they are about."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    found = {}
    for finding in examination.check_recipe(cfg, checkpoint and str(checkpoint)):
        found.setdefault(finding.where, []).append(finding)
    return found


def errors(found):
    """Return the errors as text, each with its remedy."""
    return [
        f'{finding.where}: {finding.text} {finding.remedy}'
        for group in found.values()
        for finding in errors_in(group)
    ]


def test_a_sound_installation_and_config_have_no_errors(detector):
    done = run_tool('doctor.py', detector, detector.with_name('model.pth'))
    said = ' '.join(done.output.split())
    assert done.code == 0, done.output
    for line in (
        'ok mmcv 2',
        'ok MMCV ops, cpu nms and RoIAlign',
        "ok registries type='ConvNeXt' works in mmdet and mmseg",
        'ok Cascade Mask R-CNN forward and backward',
        'ok UperNet forward and backward',
        'ok data all files of the data sets exist',
        'ok weights no pretrained weights: training starts from scratch',
        'ok channels the backbone outputs [40, 80, 160, 320], which fits model.neck',
        'ok classes data sets and heads have the same 6 classes (circle, square, triangle and 3',
        'ok learning rates at most 0.0015, in 2 parameter groups',
        'ok batch size 4 (1 process x 4 images), as the learning rate is for',
        'All is well',
    ):
        assert line in said, done.output
    assert 'fits the config and has 6 classes' in said
    assert 'Warning' not in said and 'Traceback' not in said


def test_the_exit_code_is_1_for_errors_and_2_for_a_missing_config(detector, monkeypatch, capsys):
    for name in ('check_installation', 'check_training_steps'):
        monkeypatch.setattr(examination, name, lambda: ())

    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'setLevel', lambda level: None)  # all tests share it

    def code(*arguments):
        monkeypatch.setattr(sys, 'argv', ['doctor.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as finished, warnings.catch_warnings():
            runpy.run_path(str(ROOT / 'tools' / 'doctor.py'), run_name='__main__')
        return finished.value.code

    assert code() == 0
    assert code(detector, '--cfg-options', 'model.neck.in_channels=[1,2,3,4]') == 1
    assert '1 error to fix' in capsys.readouterr().out
    assert code('no.py') == 2
    assert capsys.readouterr().err == 'error: no.py: no such file\n'


def test_without_mmengine_there_is_one_clear_line(tmp_path):
    (tmp_path / 'mmengine.py').write_text(
        "raise ModuleNotFoundError('No mmengine', name='mmengine')"
    )
    done = run_tool('doctor.py', pythonpath=tmp_path)
    assert done.code == 1
    assert (
        'error: convnext_mm needs MMEngine' in done.output
        and 'convnext-mm[openmmlab]' in done.output
    )
    assert 'Traceback' not in done.output


def test_with_a_broken_mmcv_everything_else_is_checked(tmp_path):
    (tmp_path / 'mmcv.py').write_text('raise ModuleNotFoundError("No module named \'mmcv._ext\'")')
    done = run_tool('doctor.py', pythonpath=tmp_path)
    said = ' '.join(done.output.split())
    assert done.code == 1 and 'Traceback' not in said
    assert "error mmcv cannot be imported: No module named 'mmcv._ext'" in said
    assert 'compile them with `make setup`' in said and 'ok disk' in said
    assert (
        'Models and configs are not checked: they need the packages above. 1 error to fix' in said
    )


def without(folder, package):
    """Return a folder for PYTHONPATH that makes the import of a package fail."""
    (folder / 'sitecustomize.py').write_text(f'import sys\nsys.modules[{package!r}] = None\n')
    return folder


def test_without_mmdetection_a_segmentor_is_checked(shapes_ade, tmp_path):
    config = write_model(tmp_path, segmentor(shapes_ade))
    hidden = without(tmp_path, 'mmdet')
    done = run_tool('doctor.py', config, config.with_name('model.pth'), pythonpath=hidden)
    said = ' '.join(done.output.split())
    assert 'error mmdet cannot be imported' in said  # its distribution is installed
    assert "ok registries type='ConvNeXt' works in mmseg" in said
    assert 'Mask R-CNN' not in said and 'ok UperNet forward and backward' in said
    assert 'ok checkpoint' in said and '1 error to fix' in said, done.output


def test_without_mmdetection_the_config_of_a_detector_is_an_error(detector, tmp_path):
    done = run_tool('doctor.py', detector, pythonpath=without(tmp_path, 'mmdet'))
    said = ' '.join(done.output.split())
    assert done.code == 1 and 'Traceback' not in said
    assert 'error config' in said and '2 errors to fix' in said, done.output


def test_json_has_versions_platform_and_each_finding_with_its_page(detector, monkeypatch, capsys):
    monkeypatch.setattr(examination, 'check_training_steps', lambda: ())
    monkeypatch.setattr(MMLogger.get_current_instance(), 'setLevel', lambda level: None)
    monkeypatch.setenv('HOME', str(Path(sys.prefix).parent))
    options = ['--cfg-options', 'model.neck.in_channels=[1,2,3,4]']
    with warnings.catch_warnings():
        assert doctor.main(['--json', str(detector), *options]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said['packages']['torch'] == metadata.version('torch')
    assert said['platform']['python'] == sys.version.split()[0]
    found = {finding['where']: finding for finding in said['findings']}
    assert found['Python']['what'] == f'{sys.version.split()[0]} in ~/{Path(sys.prefix).name}'
    wrong = found['channels']
    assert (wrong['section'], wrong['level']) == ('config', 'error')
    assert (
        'model.neck.in_channels is [1, 2, 3, 4]' in wrong['what'] and 'set model' in wrong['remedy']
    )
    assert wrong['page'] == 'docs/troubleshooting.md#your-own-config'


def test_json_leaves_out_the_home_folder_and_the_secrets_of_addresses(monkeypatch):
    monkeypatch.setenv('HOME', '/home/jo')
    url = 'https://jo:secret@host.org/w.pth?token=secret'
    finding = error('weights', f'{url}, in /home/jo/w.pth', 'see /home/johanna')
    (said,) = bug_report([('config', [finding])])['findings']
    assert said['what'] == 'https://***@host.org/w.pth?***, in ~/w.pth'
    assert said['remedy'] == 'see /home/johanna'


def test_the_pages_of_findings_exist():
    for page in PAGES:
        path, _, anchor = page.partition('#')
        assert (ROOT / path).is_file(), page
        assert not anchor or anchor in anchors(ROOT / path), page


def test_errors_and_notes_are_printed_with_their_page(detector, monkeypatch, capsys):
    monkeypatch.setattr(examination, 'check_installation', lambda: [ok('a', 'b'), note('GPU', 'c')])
    monkeypatch.setattr(examination, 'check_training_steps', lambda: ())
    assert examination.examine(Console(width=110))
    assert capsys.readouterr().out.count('see docs/getting_started.md#install') == 1


# --- the config ------------------------------------------------------------------------------


def test_wrong_channels_are_reported_with_the_right_ones(detector, shapes_ade, tmp_path):
    (found,) = errors(findings(detector, **{'model.neck.in_channels': [96, 192, 384, 768]}))
    assert 'model.neck.in_channels is [96, 192, 384, 768], but the backbone outputs [40' in found
    assert 'set model.neck.in_channels=[40, 80, 160, 320]' in found
    config = tmp_path / 'segmentor.py'
    config.write_text(segmentor(shapes_ade))
    assert errors(findings(config)) == []
    (found,) = errors(findings(config, **{'model.auxiliary_head.in_channels': 384}))
    assert 'model.auxiliary_head.in_channels is 384, but the backbone outputs 24' in found


def test_a_neck_that_skips_a_map_is_a_note(detector):
    (note,) = findings(detector, **{'model.neck.start_level': 1})['channels']
    assert note.level is Level.NOTE and 'the neck skips 1 of these maps' in note.text
    assert 'model.backbone.out_indices=(1, 2, 3)' in note.remedy


def test_different_numbers_or_names_of_classes_are_errors(detector, shapes_coco, tmp_path):
    found = errors(findings(detector, **{'model.roi_head.mask_head.num_classes': 80}))
    assert len(found) == 1
    assert 'mask_head.0 has num_classes=80, model.roi_head.mask_head.1 has' in found[0]
    found = errors(
        findings(detector, **{'train_dataloader.dataset.metainfo.classes': (*SHAPES[:5], 'disc')})
    )
    assert any('train_dataloader has 6 classes (circle' in line for line in found)
    assert any("has no category 'disc'" in line for line in found)


def test_unused_categories_are_a_note(detector):
    subset = {
        f'{split}_dataloader.dataset.metainfo.classes': SHAPES[:5] for split in ('train', 'val')
    }
    found = findings(detector, **subset)['classes']
    assert any('1 class (ring)' in f.text and f.level is Level.NOTE for f in found)


def test_missing_data_are_an_error_that_says_how_to_get_them(no_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = findings(ROOT / 'configs/cascade/convnext_t_coco.py')
    (line,) = errors(found)
    assert 'data: the data set is not there' in line
    assert 'convnext-mm prepare-coco --download' in line


@pytest.mark.parametrize(
    'answer, level, text',
    [
        (URLError('no network'), Level.NOTE, 'cannot be reached: no network'),
        (HTTPError('url', 404, 'Not Found', {}, None), Level.ERROR, 'answers 404 Not Found'),
    ],
)
def test_weights_are_looked_up_but_not_downloaded(tmp_path, monkeypatch, answer, level, text):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))

    def refuse(request, timeout):
        assert request.get_method() == 'HEAD'
        raise answer

    def weights(source):
        init = dict(type='ConvNeXtPretrained', checkpoint=source)
        cfg = Config(dict(model=dict(backbone=dict(init_cfg=init))))
        return one(weight_sources.check_weight_sources(cfg))

    monkeypatch.setattr(weight_sources, 'urlopen', refuse)
    found = weights('convnext_tiny_in1k')
    assert found.level is level and text in found.text
    cached = tmp_path / 'checkpoints' / 'convnext_tiny_1k_224.pth'
    cached.parent.mkdir()
    cached.touch()
    found = weights('convnext_tiny_in1k')
    assert found.level is Level.OK and str(cached) in found.text
    found = weights('timm://convnext_tiny.fb_in1k')
    assert 'timm/convnext_tiny.fb_in1k/resolve/main/model.safetensors' in found.text
    fill_hub_cache(tmp_path / 'hub', 'timm/convnext_tiny.fb_in1k', 'model.safetensors', b'')
    assert weights('timm://convnext_tiny.fb_in1k').level is Level.OK
    found = weights('convnext_tony')
    assert found.level is Level.ERROR and 'convnext_tiny' in found.text


def test_learning_rates_batch_size_and_workers_are_checked(detector, no_network):
    found = findings(
        detector,
        **{
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 999,
            'optim_wrapper.paramwise_cfg.num_layers': 12,
        },
    )
    (line,) = errors(found)
    assert 'learning rates: paramwise_cfg: num_layers=12 does not fit' in line
    assert 'the learning rate is for a batch of 4' in found['batch size'][0].text
    assert '--accumulate' in found['batch size'][0].remedy
    assert 'num_workers=' in found['workers'][0].remedy
    absolute = dict(type='CosineAnnealingLR', T_max=2, end=2, eta_min=1e-4)
    found = findings(
        detector,
        **{'param_scheduler': [absolute], 'optim_wrapper.paramwise_cfg.decay_rate': 0.5},
    )
    assert 'flattens their decay' in errors(found)[0]


def test_a_checkpoint_of_another_model_or_of_other_classes_is_an_error(
    detector, shapes_ade, small_detector, tmp_path
):
    write_model(tmp_path, segmentor(shapes_ade))
    (line,) = errors(findings(detector, tmp_path / 'model.pth'))
    assert 'checkpoint: ' in line and 'does not fit' in line
    write_model(tmp_path, small_detector, tuple('abcdef'))
    (line,) = errors(findings(detector, tmp_path / 'model.pth'))
    assert 'was trained on 6 classes (a, b, c and 3 more)' in line


# --- the installation ------------------------------------------------------------------------


def one(found):
    (finding,) = found
    return finding


def test_a_failing_check_is_an_error_with_advice():
    def fails(error):
        raise error

    found = one(guarded('mmcv', fails, ModuleNotFoundError("No module named 'mmcv._ext'")))
    assert found.level is Level.ERROR and 'make setup' in found.remedy
    found = one(guarded('x', fails, RuntimeError('first line\nsecond')))
    assert (found.text, found.remedy) == ('first line', 'second')
    assert one(guarded('x', lambda: ok('x', 'fine'))).level is Level.OK


def test_both_families_of_packages_at_once_are_an_error(monkeypatch):
    monkeypatch.setattr(
        metadata,
        'packages_distributions',
        lambda: {'mmcv': ['mmcv', 'onedl-mmcv'], 'mmdet': ['mmdet']},
    )
    found = installation._one_family()
    assert found.level is Level.ERROR and 'mmcv (mmcv and onedl-mmcv)' in found.text


def test_an_unsupported_version_and_a_missing_package_are_errors(monkeypatch):
    monkeypatch.setattr(metadata, 'version', lambda name: '2.2.0')
    found = installation._package('mmcv')
    assert found.level is Level.ERROR and '2.2.0' in found.text and '<2.2' in found.remedy
    monkeypatch.setattr(metadata, 'packages_distributions', lambda: {})
    for name in ('mmcv', 'mmdet'):
        found = installation._package(name)
        assert found.level is Level.ERROR and 'is not installed' in found.text


def test_one_library_of_the_two_is_enough(monkeypatch):
    monkeypatch.setattr(metadata, 'packages_distributions', lambda: {'mmseg': ['mmsegmentation']})
    found = installation._package('mmdet')
    assert found.level is Level.NOTE and 'is not installed; detectors need it' in found.text


@pytest.mark.parametrize(
    'cuda, text', [(None, 'built without CUDA'), ('13.0', 'for CUDA 13.0 sees no GPU')]
)
def test_a_gpu_that_pytorch_does_not_see_is_an_error(monkeypatch, cuda, text):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    monkeypatch.setattr(installation.shutil, 'which', lambda name: f'/usr/bin/{name}')
    version, gpu = installation._pytorch()
    assert version.level is Level.OK
    assert gpu.level is Level.ERROR and text in gpu.text


def test_a_torchvision_for_another_torch_is_an_error(monkeypatch):
    def no_operator(*_):
        raise RuntimeError('operator torchvision::nms does not exist')

    fake = ModuleType('torchvision')
    fake.ops = ModuleType('ops')
    fake.ops.nms = no_operator
    fake.__spec__ = object()
    monkeypatch.setitem(sys.modules, 'torchvision', fake)
    monkeypatch.setattr(metadata, 'version', lambda name: '0.1')
    found = installation._torchvision()
    assert found.level is Level.ERROR and 'operator torchvision::nms' in found.text


def test_operators_with_wrong_results_are_an_error(monkeypatch):
    import mmcv.ops

    monkeypatch.setattr(mmcv.ops, 'nms', lambda boxes, scores, threshold: (boxes, scores))
    assert installation._operators('cpu').level is Level.ERROR


def test_without_pkg_resources_the_remedy_names_the_setuptools_version(monkeypatch):
    monkeypatch.setattr(installation.importlib.util, 'find_spec', lambda name: None)
    assert installation._setuptools().remedy == "pip install 'setuptools<82'"


def test_a_full_disk_is_an_error(monkeypatch):
    class Usage:
        free = 2**28

    monkeypatch.setattr(installation.shutil, 'disk_usage', lambda path: Usage)
    assert installation._disk().level is Level.ERROR


def test_every_kind_of_model_makes_a_training_step():
    found = list(check_training_steps())
    assert [f.where for f in found] == [
        'Mask R-CNN',
        'Cascade Mask R-CNN',
        'RetinaNet',
        'UperNet',
    ]
    assert {f.level for f in found} == {Level.OK}, found
