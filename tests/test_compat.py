"""MMEngine's checkpoints load under weights_only=True; foreign code still does not."""

import os
import pickle
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config
from mmengine.logging import HistoryBuffer, MessageHub

import convnext_mm  # noqa: F401  (allows the types)
from convnext_mm.compat import apply_workarounds
from convnext_mm.errors import UserError
from tests.conftest import run_tool


def test_a_message_hub_of_mmengine_loads_with_weights_only(tmp_path):
    hub = MessageHub.get_instance('compat')
    for step in range(3):
        hub.update_scalar('train/loss', torch.tensor(1.0 / (step + 1)))
        hub.update_scalar('val/AP', np.float32(0.5))
    hub.update_info('iter', 3)
    hub.update_info('dataset_meta', dict(palette=np.zeros((2, 3), np.uint8), score=np.float64(1)))
    torch.save(dict(message_hub=hub.state_dict()), tmp_path / 'hub.pth')
    loaded = torch.load(tmp_path / 'hub.pth', weights_only=True)['message_hub']
    history = loaded['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.data[0].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert loaded['runtime_info']['iter'] == 3


@pytest.mark.parametrize('core', ['core', '_core'])
def test_arrays_of_older_and_newer_numpy_load_with_weights_only(tmp_path, core):
    torch.save([np.arange(3), np.float64(1)], tmp_path / 'here.pth')
    with (
        zipfile.ZipFile(tmp_path / 'here.pth') as here,
        zipfile.ZipFile(tmp_path / 'other.pth', 'w') as other,
    ):
        for name in here.namelist():
            content = re.sub(rb'numpy\._?core\.', b'numpy.%s.' % core.encode(), here.read(name))
            other.writestr(name, content)
    array, scalar = torch.load(tmp_path / 'other.pth', weights_only=True)
    assert (array.tolist(), scalar) == ([0, 1, 2], 1)


class ReachesFor:
    """A pickle that asks for an attribute of a class or module by way of getattr."""

    def __init__(self, owner, name):
        self.attribute = owner, name

    def __reduce__(self):
        return getattr, self.attribute


@pytest.mark.parametrize(
    'owner, name', [(HistoryBuffer, '__init__'), (torch.Tensor, 'numpy'), (np.ndarray, 'tofile')]
)
def test_a_file_cannot_reach_for_other_attributes(tmp_path, owner, name):
    torch.save(ReachesFor(owner, name), tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'evil.pth', weights_only=True)


def test_a_file_cannot_run_code(tmp_path):
    class RunsCode:
        def __reduce__(self):
            return exec, ('raise SystemExit("code from a checkpoint ran")',)

    torch.save(RunsCode(), tmp_path / 'evil.pth')
    with pytest.raises(pickle.UnpicklingError, match=r'Unsupported global: GLOBAL .*exec'):
        torch.load(tmp_path / 'evil.pth', weights_only=True)


def test_a_broken_mmpretrain_does_not_break_mmdetection(tmp_path):
    """As with a current transformers; MMDetection has its models without MMPretrain."""
    models, utils = (tmp_path / 'mmpretrain' / name for name in ('models', 'utils'))
    for folder in (models, utils, tmp_path / 'transformers-9.9.dist-info'):
        folder.mkdir(parents=True)
    (tmp_path / 'transformers-9.9.dist-info' / 'METADATA').touch()
    (tmp_path / 'mmpretrain' / '__init__.py').touch()
    (models / '__init__.py').write_text('raise TypeError("NoneType takes no arguments")')
    # As in MMPretrain, which imports its multimodal models if it finds transformers.
    (utils / '__init__.py').touch()
    (utils / 'dependency.py').write_text(
        'from importlib.metadata import PackageNotFoundError, distribution\n'
        'try: print("transformers is found:", distribution("transformers"))\n'
        'except PackageNotFoundError: print("transformers is hidden")\n'
    )
    code = (
        'from convnext_mm.compat import apply_workarounds\n'
        'apply_workarounds()\n'
        'import mmdet.models\n'
        'try: import mmpretrain.models\n'
        'except ImportError as error: print(error)\n'
        'import mmpretrain.utils.dependency, importlib.metadata\n'
        'print(importlib.metadata.distribution("transformers") is not None)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mmpretrain.models cannot be imported: TypeError('NoneType takes" in done.stdout
    # Other packages find it.
    assert done.stdout.splitlines()[-2:] == ['transformers is hidden', 'True']


def test_the_workarounds_are_applied_once():
    code = (
        'import sys, warnings\n'
        'from convnext_mm.compat import apply_workarounds\n'
        'counts = []\n'
        'for _ in range(3):\n'
        '    counts.append((len(sys.meta_path), len(warnings.filters)))\n'
        '    apply_workarounds()\n'
        'print(counts[0] != counts[1], counts[1] == counts[2])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['True', 'True']


@pytest.fixture
def no_pip(monkeypatch):
    """Apply the workarounds, and fail if anything starts another program."""
    apply_workarounds()
    monkeypatch.setattr(subprocess, 'Popen', lambda *args, **kwargs: pytest.fail(f'ran {args}'))


def test_a_base_is_found_when_its_distribution_has_another_name(no_pip, monkeypatch, tmp_path):
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'onedl-mmsegmentation')
    config = tmp_path / 'config.py'
    config.write_text("_base_ = 'mmseg::_base_/models/upernet_r50.py'\n")
    assert Config.fromfile(config).model.decode_head.type == 'UPerHead'
    assert get_config('mmseg::_base_/models/upernet_r50.py').model.type == 'EncoderDecoder'


def test_a_package_that_is_missing_is_named_and_not_installed(no_pip):
    with pytest.raises(UserError, match='mmrotate is not installed: install mmrotate, or'):
        get_config('mmrotate::rotated_retinanet/config.py')


def test_a_base_in_a_package_that_is_missing_names_both_families(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'mmrotate::rotated_retinanet/config.py'\n")
    done = run_tool('lr_table.py', config)
    assert done.code == 2
    assert done.output == (
        f'error: {config}: mmrotate is not installed: install mmrotate, or the maintained package '
        'onedl-mmrotate if you have onedl-mmcv\n'
    )
