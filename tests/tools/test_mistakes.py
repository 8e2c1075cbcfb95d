"""A mistake of the user ends in one line and exit code 2, before anything is built."""

import contextlib
import gc
import io
import runpy
import shutil
import sys
import warnings

import pytest
import torch
from mmengine.config import Config

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser, add_config_options
from convnext_mm.config.disk import check_disk_space, check_folder
from convnext_mm.config.reading import load_config
from convnext_mm.diagnose.browse import browse
from convnext_mm.engine.launchers import check_launcher
from convnext_mm.engine.resume_checks import check_shapes
from convnext_mm.errors import ConfigError, UserError, WeightsError
from convnext_mm.messages.findings import Level
from tests.conftest import ROOT
from tests.small_models import write_model

pytestmark = [
    # MMEngine does not close its copy of a config that cannot be run.
    pytest.mark.filterwarnings('ignore:unclosed file:ResourceWarning'),
    pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
]


@pytest.fixture(autouse=True, scope='module')
def forget_unclosed_files():
    """Delete the unclosed files here, where their warnings are ignored, and not in a later test."""
    yield
    gc.collect()


@pytest.fixture(scope='module')
def folder(small_detector, tmp_path_factory):
    """A folder with the config of a small detector and a checkpoint of it."""
    folder = tmp_path_factory.mktemp('detector')
    write_model(folder, small_detector)
    return folder


def run(tool, *arguments):
    """Run a tool in this process, which is faster; return its exit code and all that it prints."""
    out = io.StringIO()
    argv, sys.argv = sys.argv, [tool, *map(str, arguments)]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            warnings.catch_warnings(),
            pytest.raises(SystemExit) as ended,
        ):
            warnings.simplefilter('ignore')  # libraries warn about themselves
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    finally:
        sys.argv = argv
    return ended.value.code, out.getvalue()


def one_line(tool, *arguments):
    """Run a tool that must end in one line and exit code 2; return the line."""
    code, output = run(tool, *arguments)
    assert code == 2 and 'Traceback' not in output, output
    (line,) = output.splitlines()
    assert line.startswith('error: ')
    return line


@pytest.mark.parametrize(
    'options, text',
    [
        (['model.backbone.drop_path=0.1'], 'did you mean drop_path_rate?'),
        (['train_dataloder.batch_size=2'], 'did you mean train_dataloader.batch_size?'),
        (["model.neck=dict(type='FPN',out_channel=8)"], 'did you mean out_channels?'),
        (['model.neck=dict(type=FPN,out_channels=8)'], 'the value cannot be read'),
        (["model.neck=dict(type=print('x'))"], 'the value cannot be read'),
        (['model.neck=[1,(2]'], 'the value cannot be read'),
        (['model'], 'a setting is KEY=VALUE'),
        (['model.backbone.drop_path_rate=2'], 'drop_path_rate=2 must be in [0, 1)'),
        (['model.neck.num_outs=1'], 'model.neck cannot be built: AssertionError'),
    ],
)
def test_a_mistake_in_an_option(folder, tmp_path, options, text):
    work = tmp_path / 'work'
    line = one_line('train.py', folder / 'config.py', '--work-dir', work, '--cfg-options', *options)
    assert text in line
    assert not list(work.glob('*.pth'))


def test_a_setting_below_a_list_or_a_text_says_why_it_cannot_be_changed(folder):
    cfg = load_config(folder / 'config.py')
    for key, text in (
        ('param_scheduler.7.end', 'after it comes a number from 0 to 1'),
        ('param_scheduler.end', 'after it comes a number from 0 to 1'),
        ('model.neck.num_outs.x', 'model.neck.num_outs is 4, which holds no further settings'),
    ):
        with pytest.raises(UserError, match=text):
            load_config(cfg, {key: 1})


def test_a_dict_is_a_value_of_an_option():
    parser = Parser()
    add_config_options(parser)
    arguments = parser.parse_args(
        [
            '--cfg-options',
            "a.b=dict(c=[1, 2], d=dict(e='x'))",
            'f={"g": None}',
            'h=1,2',
            'i=[(1,2)]',
        ]
    )
    assert arguments.cfg_options == {
        'a.b': {'c': [1, 2], 'd': {'e': 'x'}},
        'f': {'g': None},
        'h': [1, 2],
        'i': [(1, 2)],
    }


def test_an_unknown_argument_of_a_tool():
    assert 'unrecognized arguments: --nope' in one_line('lr_table.py', 'config.py', '--nope')


def test_config_and_checkpoint_are_swapped(folder):
    line = one_line('test.py', folder / 'model.pth', folder / 'config.py')
    assert 'Is it a checkpoint? The config comes first' in line
    line = one_line('test.py', folder / 'config.py', folder / 'config.py')
    assert 'config.py: the file is' in line
    assert 'is a folder' in one_line('browse.py', folder)


@pytest.mark.parametrize(
    'text, message',
    [
        ('a = 1\nb = dict(c=1\nd = 2\n', "line 2: '(' was never closed"),
        ('a = 1\nb = a + c\n', "line 2: NameError: name 'c' is not defined"),
        ('def f():\n    return 1 / 0\n\n\na = f()\n', 'line 2: ZeroDivisionError'),
        ("a = '{{$NO_SUCH_VARIABLE:}}'\n", 'NO_SUCH_VARIABLE'),
        ("custom_imports = dict(imports=['no_such_module'])\n", 'no_such_module'),
    ],
)
def test_a_config_that_cannot_be_run_is_named_with_its_line(text, message, tmp_path):
    base = tmp_path / 'base.py'
    base.write_text(text)
    (tmp_path / 'child.py').write_text("_base_ = './base.py'\n")
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path / 'child.py')
    line = str(raised.value)
    assert message in line and '\n' not in line
    assert 'custom_imports' in text or 'base.py' in line


@pytest.mark.parametrize('name', ['config.txt', 'config.pth', 'no.py'])
def test_a_file_that_is_no_config(name, tmp_path):
    if name != 'no.py':
        (tmp_path / name).write_text('a = 1')
    with pytest.raises(UserError, match=r'must end in \.py|no such file'):
        load_config(tmp_path / name)


def test_a_work_dir_or_a_picture_where_nothing_can_be_written(folder, tmp_path, monkeypatch):
    config = folder / 'config.py'
    (tmp_path / 'file').write_text('')
    line = one_line('train.py', config, '--work-dir', tmp_path / 'file' / 'work')
    assert f'work: this cannot be a folder: {tmp_path / "file"} is a file' in line
    (tmp_path / 'a.png').mkdir()
    for path, reason in (('file/x.png', 'this cannot be a folder'), ('a.png', 'this is a folder')):
        with pytest.raises(UserError, match=reason):
            browse(Config.fromfile(config), 'train', 1, tmp_path / path)
    monkeypatch.setattr('os.access', lambda path, mode: False)  # root may write everywhere
    (finding,) = check_folder(tmp_path / 'x' / 'y')
    assert f'no permission in {tmp_path}' in finding.text


@pytest.mark.parametrize(
    'launcher, start',
    [
        ('pytorch', 'convnext-mm launch GPUS train CONFIG'),
        ('slurm', 'srun convnext-mm train'),
        ('mpi', 'mpirun'),
    ],
)
def test_a_launcher_that_did_not_start_the_process(launcher, start, folder, monkeypatch):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    (finding,) = check_launcher(launcher)
    assert finding.where == f'--launcher {launcher}' and start in finding.text
    assert not [*check_launcher('none')]
    if launcher == 'pytorch':
        work = ('--work-dir', folder / 'work', '--launcher', launcher)
        message = one_line('train.py', folder / 'config.py', *work)
        assert 'start it with tools/dist_train.sh' in message


def test_the_checkpoints_to_come_are_compared_with_the_free_space(folder, tmp_path, monkeypatch):
    cfg = Config.fromfile(folder / 'config.py')
    size = (folder / 'model.pth').stat().st_size  # the parameters; AdamW keeps two more values each

    def finding(free, **checkpoint):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, **checkpoint)
        (found,) = check_disk_space(cfg, tmp_path / 'work')
        return found

    assert finding(2**40).level is Level.OK
    assert finding(2.9 * size).level is Level.ERROR
    assert finding(5 * size).level is Level.NOTE  # two epochs
    assert finding(6.1 * size).level is Level.OK
    assert finding(6.1 * size, save_best='auto').level is Level.NOTE
    assert finding(3.1 * size, save_optimizer=False).level is Level.OK
    cfg.train_cfg.max_epochs = 36
    assert '36 checkpoints of ' in finding(10 * size).text
    assert '3 checkpoints of ' in finding(10 * size, max_keep_ckpts=2).text


def test_ctrl_c_before_a_training_leaves_no_traceback(capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    assert exit_code(interrupted, None) == 130
    assert capsys.readouterr() == ('', '')


def test_an_unexpected_error_shows_its_traceback_and_how_to_report_it(capsys):
    def broken(arguments):
        return 1 / 0

    assert exit_code(broken, None) == 1
    printed = capsys.readouterr().err
    assert 'Traceback' in printed and 'error: ZeroDivisionError' in printed
    assert 'this is a mistake in convnext-mm: please report it' in printed


def test_verbose_shows_the_traceback_of_a_mistake(folder, tmp_path):
    code, output = run(
        *('train.py', folder / 'config.py', '--work-dir', tmp_path, '--verbose'),
        *('--cfg-options', 'model.neck.num_outs=1'),
    )
    assert code == 2 and 'Traceback' in output
    assert output.splitlines()[-1].startswith('error: model.neck cannot be built')


def test_a_checkpoint_of_other_classes_is_resumed_from_only_on_demand(folder, tmp_path):
    checkpoint = torch.load(folder / 'model.pth', weights_only=True)
    checkpoint['meta'] = dict(dataset_meta=dict(classes=tuple('abcdef')), epoch=2, iter=8)
    checkpoint['message_hub'] = dict(log_scalars={}, runtime_info={}, resumed_keys={})
    torch.save(checkpoint, tmp_path / 'other.pth')
    resume = ('--work-dir', tmp_path / 'work', '--no-report', '--resume', tmp_path / 'other.pth')
    code, output = run('train.py', folder / 'config.py', *resume)
    assert code == 2 and 'Traceback' not in output, output
    assert 'was trained on 6 classes (a, b, c and 3 more), but the data have 6 class' in output
    assert 'add --resume-anyway' in output
    code, output = run('train.py', folder / 'config.py', *resume, '--resume-anyway')
    assert code == 0, output
    assert 'the outputs of the heads stand for other classes from now on' in output
    with pytest.raises(WeightsError, match=r'of another model: 1 tensor \(a\) of another shape'):
        check_shapes({'a': torch.ones(2)}, {'state_dict': {'a': torch.ones(3)}}, 'other.pth')
