"""What the terminal shows of a run, and that the log file has everything."""

import logging
import sys
import warnings

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from convnext_mm.engine.terminal import Terminal
from convnext_mm.messages.log import log_once

# MMEngine collects the environment by it.
pytestmark = pytest.mark.filterwarnings('ignore:The distutils package is deprecated')


@MODELS.register_module(force=True)
class Nothing(BaseModel):
    def forward(self, inputs):
        return inputs


def speak(module):
    """Print and log as code of a module does."""
    code = (
        'import logging\n'
        'print("printed by", name)\n'
        'logger.info(f"info of {name}")\n'
        'logger.warning(f"warning of {name}")\n'
    )
    path = module.replace('.', '/') + '.py'
    if module.startswith('convnext_mm'):
        path = sys.modules['convnext_mm'].__file__.replace('__init__', module.rpartition('.')[2])
    scope = dict(name=module, __name__=module, logger=MMLogger.get_current_instance())
    exec(compile(code, path, 'exec'), scope)


def settings(folder):
    # Runners of the same second need names of their own.
    return Config(
        dict(model=dict(type='Nothing'), work_dir=str(folder), experiment_name=folder.name)
    )


def run(folder, verbose=False):
    """Say something before and after a Runner is built; return the text of the log file."""
    with Terminal(verbose) as terminal:
        log_once('before the runner')
        cfg = settings(folder)
        runner = terminal.build_runner(cfg)
        log_once('a note', logging.WARNING)
        for module in ('mmdet.apis', 'convnext_mm.optim', 'users_code'):
            speak(module)
        warnings.showwarning('deprecated', UserWarning, 'library.py', 7)
    with open(runner.logger.log_file) as file:
        return file.read()


def test_the_terminal_shows_what_matters_and_the_file_everything(tmp_path, capfd):
    log = run(tmp_path)
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        *('before the runner', 'warning: a note'),
        *('printed by convnext_mm.optim', 'warning: warning of convnext_mm.optim'),
        'printed by users_code',
    ]
    assert err == ''
    MMLogger.get_current_instance().info('after the run')
    assert 'after the run' in capfd.readouterr().out  # as MMEngine logs anything
    for line in (
        *('before the runner', 'System environment', 'a note', 'printed by mmdet.apis'),
        *('info of mmdet.apis', 'warning of mmdet.apis', 'info of convnext_mm.optim'),
        'library.py:7: UserWarning: deprecated',
    ):
        assert line in log


def test_verbose_shows_the_log_too(tmp_path, capfd):
    log = run(tmp_path, verbose=True)
    out, _ = capfd.readouterr()
    for line in ('before the runner', 'System environment', 'info of mmdet.apis'):
        assert line in out and line in log


def test_other_processes_show_errors_only(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with Terminal(False):
        log_once('a note', logging.WARNING)
        speak('convnext_mm.optim')
        MMLogger.get_current_instance().error('broken')
    assert capfd.readouterr().out.splitlines() == ['printed by convnext_mm.optim', 'error: broken']


def test_a_run_that_fails_leaves_the_reason_in_its_log_file(tmp_path, capfd):
    before = sys.stdout, warnings.showwarning
    with pytest.raises(ZeroDivisionError), Terminal(False) as terminal:
        cfg = settings(tmp_path)
        log_file = terminal.build_runner(cfg).logger.log_file
        1 / 0  # noqa: B018
    assert (sys.stdout, warnings.showwarning) == before
    with open(log_file) as file:
        assert 'ZeroDivisionError: division by zero' in file.read()
    assert capfd.readouterr().out == ''
