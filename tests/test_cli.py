"""The command convnext-mm: its parts, its messages, and configs by name."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from convnext_mm.cli import configs, train
from convnext_mm.cli.main import MODULES, main
from convnext_mm.config.reading import load_config
from convnext_mm.engine.hooks.plan import config_name
from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command
from convnext_mm.recipes import FOLDER, recipe, recipe_names
from tests.conftest import ROOT

NAME = 'cascade/convnext_t_coco'


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['convnext-mm'])

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def test_every_command_is_in_the_list_on_one_screen(run):
    code, text, _ = run('--help')
    assert code == 0 and text.count('\n') < 45
    for name in MODULES:
        assert f'\n  {name} ' in text
    assert max(map(len, text.splitlines())) <= 100


def test_every_script_is_a_command_and_every_module_is_in_the_table():
    without = {'setup_env.py', 'matrix.py'}  # They prepare the environment of the package.
    for script in {path.name for path in (ROOT / 'tools').glob('*.py')} - without:
        (module,) = {
            node.module
            for node in ast.parse((ROOT / 'tools' / script).read_text()).body
            if isinstance(node, ast.ImportFrom)
        }
        assert module.removeprefix('convnext_mm.cli.') in MODULES.values()


@pytest.mark.parametrize('name', sorted(MODULES))
def test_usage_and_mistakes_name_the_command_that_was_called(name, run):
    code, text, _ = run(*name.split(), '--help')
    assert code == 0 and f'convnext-mm {name}' in text
    code, _, text = run(*name.split(), '--no-such-option')
    assert code == 2 and text.startswith('error: ') and text.count('\n') == 1


@pytest.mark.parametrize(
    'words, message',
    [
        (['trian'], "no command 'trian'; did you mean train?"),
        (['check_data'], 'did you mean check-data?'),
        (['weights'], 'weights needs a second word: weights inspect or weights convert'),
    ],
)
def test_an_unknown_command_is_one_line_that_names_the_nearest(words, message, run):
    code, out, text = run(*words)
    assert (code, out) == (2, '') and message in text and text.count('\n') == 1


def test_messages_name_the_script_if_a_script_of_the_checkout_runs(monkeypatch):
    script = SimpleNamespace(main=train.main, __file__=str(ROOT / 'tools' / 'train.py'))
    monkeypatch.setitem(sys.modules, '__main__', script)
    assert command('weights inspect') == 'tools/inspect_weights.py'
    assert command('prepare-coco') == 'tools/prepare_coco.py'
    assert command('configs list') == 'convnext-mm configs list'
    # MMDetection has a script of this name, with a function of this name.
    script.main = lambda: None
    assert command('train') == 'convnext-mm train'


def test_the_list_has_every_recipe(run):
    code, text, _ = run('configs', 'list')
    assert code == 0
    names = [line.split()[0] for line in text.splitlines()]
    paths = (path for path in (ROOT / 'configs').glob('*/*.py') if path.parent.name != '_base_')
    assert names == sorted(f'{path.parent.name}/{path.stem}' for path in paths)


@pytest.mark.parametrize(
    'name', [NAME, f'{NAME}.py', f'configs/{NAME}.py', f'convnext_mm::{NAME}.py']
)
def test_a_recipe_has_a_short_name_which_may_be_written_longer(name):
    assert Path(recipe(name)).resolve() == ROOT / 'configs' / f'{NAME}.py'


def test_a_recipe_is_read_by_its_short_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config(NAME)
    assert cfg.to_dict() == load_config(ROOT / 'configs' / f'{NAME}.py').to_dict()
    assert config_name(cfg) == NAME


def test_a_file_here_comes_before_the_recipe_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'cascade').mkdir()
    (tmp_path / f'{NAME}.py').write_text('own = True')
    assert load_config(f'{NAME}.py').own


@pytest.mark.parametrize(
    'name, message',
    [
        ('cascade/convnext_q_coco', 'did you mean cascade/convnext_'),
        ('casc/convnext_t_coco.py', 'did you mean cascade/convnext_t_coco?'),
        ('nothing', 'no recipe has this name; convnext-mm configs list lists the recipes'),
        ('no.py', 'no.py: no such file'),
        ('mmdet::mask_rcnn/no.py', 'mmdet has no such config'),
        ('other::a/b.py', 'other has no such config: mmengine does not support'),
    ],
)
def test_an_unknown_config_names_the_nearest_recipe(name, message):
    with pytest.raises(UserError) as error:
        load_config(name)
    assert message in str(error.value)


def test_a_config_of_another_package_is_found_by_its_name():
    cfg = load_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
    assert cfg.model.type == 'MaskRCNN' and cfg.default_scope == 'mmdet'


def test_a_copied_recipe_is_the_same_config(run, tmp_path):
    code, text, _ = run('configs', 'copy', NAME, 'mine.py')
    assert (code, text) == (0, 'written: mine.py\n')
    copied = tmp_path / 'mine.py'
    assert Config.fromfile(copied).to_dict() == Config.fromfile(recipe(NAME)).to_dict()
    assert 'convnext-mm train mine.py' in copied.read_text()
    code, _, text = run('configs', 'copy', NAME, 'mine.py')
    assert code == 2 and 'mine.py exists already' in text


@pytest.mark.parametrize('name', recipe_names())
def test_the_bases_of_a_copied_recipe_are_found_from_any_folder(name):
    (bases,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(configs.with_absolute_bases(Path(recipe(name)))).body
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_'
    )
    for base in [bases] if isinstance(bases, str) else bases:
        assert '::' in base
        if base.startswith('convnext_mm::'):
            assert Path(recipe(base)).is_file()


def test_a_config_is_shown_complete(run):
    code, text, _ = run('configs', 'show', NAME)
    assert code == 0
    assert ast.parse(text) and "'ConvFCBBoxHead'" in text


def test_only_relative_bases_change_in_a_copy():
    path = FOLDER / '_base_' / 'cascade_mask_rcnn.py'
    (line,) = (s for s in configs.with_absolute_bases(path).splitlines() if s.startswith('_base_'))
    assert ast.literal_eval(line.partition('=')[2].strip()) == [
        'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
        'convnext_mm::_base_/coco_instance_3x.py',
    ]


def test_a_config_inherits_from_a_recipe_as_from_its_file(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text(f"_base_ = 'convnext_mm::{NAME}.py'\nmodel = dict(backbone=dict(arch='small'))")
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.arch == 'small'
    cfg.model.backbone.arch = 'tiny'
    # They are equal, so the settings have no scope of this package, which has no registries.
    assert cfg.to_dict() == Config.fromfile(ROOT / 'configs' / f'{NAME}.py').to_dict()
