"""The package as it is installed: built by way of the source archive, without the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / 'convnext_mm').is_dir(), reason='no sources here')

SOURCES = ('convnext_mm', 'configs', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE')
PIP = (sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check')


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder with the installed wheel, which this Python imports before the checkout."""
    folder = tmp_path_factory.mktemp('wheel')
    source, site = folder / 'source', folder / 'site'
    source.mkdir()
    for name in (*SOURCES, 'model-index.yml'):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name, **(dict(symlinks=True) if copy is shutil.copytree else {}))
    run = dict(check=True, capture_output=True)
    subprocess.run([sys.executable, 'setup.py', '-q', 'sdist', '-d', folder], cwd=source, **run)
    (archive,) = folder.glob('*.tar.gz')
    offline = ('--no-deps', '--no-build-isolation', '--no-index')
    subprocess.run([*PIP, 'install', *offline, '--target', site, archive], **run)
    return site


@pytest.fixture
def call(site, tmp_path):
    """Run a command with the installed package, in an empty folder."""

    def call(*command):
        return subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(site), 'PYTHONDONTWRITEBYTECODE': '1'},
            capture_output=True,
            text=True,
        )

    return call


def files(folder):
    return {p.relative_to(folder) for p in folder.rglob('*') if p.is_file()}


def test_the_wheel_has_all_files_of_the_package_and_all_recipes(site):
    package = site / 'convnext_mm'
    inside = {path for path in files(package) if path.suffix != '.pyc'}
    expected = {path for path in files(ROOT / 'convnext_mm') if path.suffix != '.pyc'}
    recipes = {Path('.mim', 'configs', path) for path in files(ROOT / 'configs')}
    recipes = {path for path in recipes if path.suffix == '.py'}
    assert inside == expected | recipes
    for path in recipes:
        original = ROOT / 'configs' / path.relative_to('.mim/configs')
        assert (package / path).read_bytes() == original.read_bytes()


def test_the_command_works_in_any_folder_and_writes_nothing_into_the_package(site, call, tmp_path):
    before = files(site)
    done = call(site / 'bin' / 'convnext-mm', 'configs', 'copy', 'cascade/convnext_t_coco')
    assert (done.returncode, done.stdout) == (0, 'written: convnext_t_coco.py\n'), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['convnext_t_coco.py']
    done = call(site / 'bin' / 'convnext-mm', 'launch', '2', 'train', '--help')
    assert done.returncode == 0 and done.stdout.count('usage: convnext-mm train') == 2, done.stderr
    assert files(site) == before


def test_bases_and_names_of_recipes_are_found_in_the_installed_package(site, call, tmp_path):
    (tmp_path / 'own.py').write_text("_base_ = 'convnext_mm::upernet/convnext_t_ade20k.py'")
    # The form for a process that imports this package after it has read the config.
    (tmp_path / 'later.py').write_text(
        "_base_ = __import__('convnext_mm').recipe('upernet/convnext_t_ade20k')"
    )
    script = """
from mmengine.config import Config
later = Config.fromfile('later.py')
assert Config.fromfile('own.py').to_dict() == later.to_dict()
from mmengine.hub import get_config
assert get_config('convnext_mm::upernet/convnext_t_ade20k.py').to_dict() == later.to_dict()
from mmengine.registry import MODELS
print(MODELS.get('ConvNeXt').__module__, __import__('convnext_mm').__file__)
"""
    done = call(sys.executable, '-c', script)
    assert done.stdout.split() == [
        'convnext_mm.backbone',
        str(site / 'convnext_mm' / '__init__.py'),
    ], done.stderr
