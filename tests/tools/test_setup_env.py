import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement

# What the probe prints for a PyTorch without GPU support.
CPU_BUILD = dict(version='2.13.0+cpu', cuda=None, hip=None, gpu=False, nvcc=False)
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools' / 'setup_env.py'


@pytest.fixture
def env(tmp_path, monkeypatch):
    """The script as a module, for a project in an empty folder with an empty cache."""
    spec = importlib.util.spec_from_file_location('setup_env', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / 'setup.py', tmp_path)
    shutil.copytree(ROOT / 'constraints', tmp_path / 'constraints')
    venv, cache = tmp_path / '.venv', tmp_path / 'cache'
    monkeypatch.setattr(module, 'ROOT', tmp_path)
    monkeypatch.setattr(module, 'VENV', venv)
    monkeypatch.setattr(module, 'PYTHON', venv / 'bin' / 'python')
    monkeypatch.setattr(module, 'TMP', venv / 'tmp')
    monkeypatch.setattr(module, 'STAMP', venv / 'setup-stamp')
    monkeypatch.setattr(module, 'LOCK', tmp_path / '.venv.lock')
    monkeypatch.setattr(module, 'CONSTRAINTS', tmp_path / 'constraints')
    monkeypatch.setattr(module, 'CACHE', cache)
    monkeypatch.setattr(module, 'LOG', cache / 'setup.log')
    return module


@pytest.fixture
def commands(env, monkeypatch):
    """Setup without network: commands are recorded, and succeed."""
    ran = []

    def run(*command, on_line=None):
        ran.append(' '.join(map(str, command)))
        env.VENV.mkdir(exist_ok=True)
        return json.dumps(CPU_BUILD)

    monkeypatch.setattr(env, 'run', run)
    monkeypatch.setattr(env, 'check_python', lambda row: None)
    monkeypatch.setattr(env, 'check_disk', lambda: None)
    env.store(wheel(env.ROOT), folder(env))
    return ran


def wheel(path):
    path = path / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'
    path.write_text('a wheel')
    return path


def folder(env):
    python = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    return env.wheel_folder('mmcv-2.1.0', '2.13.0+cpu', python, env.sysconfig.get_platform())


def main(env, monkeypatch, capsys, *arguments):
    """Exit code and the lines on stderr of the script."""
    monkeypatch.setattr(sys, 'argv', ['setup_env.py', *arguments])
    code = env.main()
    return code, capsys.readouterr().err.splitlines()


# --- the cache of wheels


@pytest.mark.parametrize('part', range(4))
def test_each_part_of_the_key_has_its_own_folder(env, part):
    key = ['mmcv-2.1.0', '2.13.0+cpu', 'cp311', 'linux-x86_64']
    other = list(key)
    other[part] = ['onedl-mmcv-2.1.0', '2.13.0+cu130', 'cp312', 'linux-aarch64'][part]
    assert env.wheel_folder(*key) != env.wheel_folder(*other)


def test_a_stored_wheel_is_found_again_and_nothing_else_is_left_beside_it(env, tmp_path):
    env.store(wheel(tmp_path), folder(env))
    assert env.find_wheel(folder(env)).read_text() == 'a wheel'
    assert os.listdir(folder(env)) == ['mmcv-2.1.0-cp311-cp311-linux_x86_64.whl']


def test_a_half_written_wheel_is_not_found(env, tmp_path, monkeypatch):
    def interrupted(source, target):
        Path(target).write_text('half a wh')
        raise KeyboardInterrupt

    monkeypatch.setattr(env.shutil, 'copyfile', interrupted)
    with pytest.raises(KeyboardInterrupt):
        env.store(wheel(tmp_path), folder(env))
    assert env.find_wheel(folder(env)) is None


def test_a_wheel_that_fails_its_check_is_replaced_by_a_compiled_one(env, commands, monkeypatch):
    installed = []

    def install_mmcv(row, path):
        installed.append(path.read_text())
        if installed == ['a wheel']:
            raise env.SetupError('undefined symbol')

    def build_wheel(row, torch):
        built = env.ROOT / 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'
        built.write_text('a compiled wheel')
        return built

    monkeypatch.setattr(env, 'install_mmcv', install_mmcv)
    monkeypatch.setattr(env, 'build_wheel', build_wheel)
    env.setup(env.ROWS['default'])
    assert installed == ['a wheel', 'a compiled wheel']
    assert env.find_wheel(folder(env)).read_text() == 'a compiled wheel'


# --- the second run


def test_the_second_run_does_nothing(env, commands, capsys):
    env.setup(env.ROWS['default'])
    assert commands
    commands.clear()
    capsys.readouterr()
    env.setup(env.ROWS['default'])
    assert commands == []
    assert capsys.readouterr().out == '.venv is up to date\n'


@pytest.mark.parametrize(
    ('platform', 'cuda', 'hip', 'installed'),
    [
        ('linux', None, None, True),
        ('linux', '13.0', None, False),
        ('linux', None, '7.1', False),
        ('darwin', None, None, False),
    ],
)
def test_triton_is_installed_where_there_is_one_and_pytorch_has_none(
    env, commands, monkeypatch, platform, cuda, hip, installed
):
    monkeypatch.setitem(CPU_BUILD, 'cuda', cuda)
    monkeypatch.setitem(CPU_BUILD, 'hip', hip)
    monkeypatch.setattr(env.sys, 'platform', platform)
    env.setup(env.ROWS['default'])
    assert any(f'triton=={env.TRITON}' in command for command in commands) == installed


def test_changed_pins_update_the_venv_in_place(env, commands):
    env.setup(env.ROWS['default'])
    commands.clear()
    env.pins(env.ROWS['default']).write_text('mmcv==2.1.0\nnumpy==2.4.5\n')
    env.setup(env.ROWS['default'])
    assert commands and not any('venv --clear' in command for command in commands)


def test_another_row_makes_a_new_venv_with_its_own_mmcv(env, commands, monkeypatch):
    env.setup(env.ROWS['default'])
    commands.clear()
    built = []
    monkeypatch.setattr(env, 'build_wheel', lambda row, torch: built.append(row) or wheel(env.ROOT))
    env.setup(env.ROWS['onedl'])
    assert 'venv --clear' in commands[0]
    assert [row.mmcv for row in built] == ['onedl-mmcv']
    assert any('.[onedl,export,test]' in command for command in commands)
    assert all('default.txt' not in command for command in commands)


def test_another_torch_makes_a_new_venv(env, commands):
    env.setup(env.ROWS['default'])
    commands.clear()
    env.setup(env.ROWS['default'], '2.12.0')
    assert 'venv --clear' in commands[0]


def test_an_interrupted_run_continues_in_the_same_venv(env, commands, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(env, 'provide_mmcv', interrupt)
        code, lines = main(env, monkeypatch, capsys)
        assert (code, lines) == (1, ['interrupted: `make setup` continues from here'])
    commands.clear()
    env.setup(env.ROWS['default'])
    assert commands and not any('venv --clear' in command for command in commands)


def test_a_second_setup_waits_for_the_first_and_has_nothing_left_to_do(
    env, commands, monkeypatch, capsys
):
    second = threading.Thread(target=env.setup, args=(env.ROWS['default'],))
    provide, said = env.provide_mmcv, ''

    def provide_mmcv(row, torch):
        nonlocal said
        second.start()
        deadline = time.monotonic() + 10
        while 'waiting' not in said and time.monotonic() < deadline:
            said += capsys.readouterr().out
            time.sleep(0.01)
        provide(row, torch)

    monkeypatch.setattr(env, 'provide_mmcv', provide_mmcv)
    env.setup(env.ROWS['default'])
    second.join(10)
    said += capsys.readouterr().out
    assert said.count('another make setup is running here, waiting\n') == 1
    assert said.endswith('.venv is up to date\n')
    assert sum('torch==2.13.0' in command for command in commands) == 1


def interrupt(*arguments):
    raise KeyboardInterrupt


# --- each failure is one line that says what to do


@pytest.mark.parametrize(
    ('version', 'row', 'advice'),
    [
        ((3, 9), 'default', 'use 3.11 or 3.12, e.g. `make setup PYTHON=python3.11`'),
        ((3, 10), 'default', 'or `make setup ROW=oldest`'),
        ((3, 13), 'default', 'or `make setup ROW=newest`'),
        ((3, 11), 'oldest', 'use 3.10, e.g. `make setup PYTHON=python3.10`'),
    ],
)
def test_an_unsupported_python_is_told_which_ones_are_and_which_row_takes_it(
    env, version, row, advice, monkeypatch, capsys
):
    check = env.check_python
    monkeypatch.setattr(env, 'check_python', lambda row: check(row, version))
    code, (line,) = main(env, monkeypatch, capsys, '--row', row)
    assert code == 1
    assert line.startswith(f'error: the pins of the row {row!r} are not for Python 3.{version[1]}')
    assert advice in line


@pytest.mark.parametrize('version', [(3, 11, 7), (3, 12, 1)])
def test_supported_pythons_pass(env, version):
    env.check_python(env.ROWS['default'], version)


@pytest.mark.parametrize('row', ['default', 'oldest', 'onedl', 'newest'])
def test_each_row_pins_all_that_the_package_and_the_setup_ask_for(env, row):
    row = env.ROWS[row]
    arguments = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('setuptools.setup', lambda **given: arguments.update(given))
        exec((ROOT / 'setup.py').read_text(), {'__file__': str(ROOT / 'setup.py')})
    extras = arguments['extras_require']
    asked = [
        *arguments['install_requires'],
        *extras[row.family],
        *extras['export'],
        *extras['test'],
    ]
    asked += ['setuptools', 'wheel', 'ninja', 'opencv-python-headless', row.mmcv]
    if row.for_development:
        asked += [*extras['docs'], *env.DEVELOPMENT, *env.PEERS]
    pins = dict(line.split('==') for line in env.pins(row).read_text().splitlines() if '==' in line)
    for requirement in map(Requirement, asked):
        if requirement.name != 'torch':
            assert requirement.specifier.contains(pins[requirement.name]), requirement
    torch = next(r for r in map(Requirement, asked) if r.name == 'torch')
    assert torch.specifier.contains(row.torch)


def test_a_missing_compiler_is_named_before_anything_is_downloaded(
    env, commands, monkeypatch, capsys
):
    shutil.rmtree(env.CACHE)
    monkeypatch.setenv('PATH', str(env.ROOT))
    for name in ('CXX', 'PIP_FIND_LINKS'):
        monkeypatch.delenv(name, raising=False)
    code, (line,) = main(env, monkeypatch, capsys)
    assert code == 1
    assert line.startswith('error: no C++ compiler found') and 'apt install g++' in line
    assert not any('torch' in command for command in commands)


def test_a_full_disk_is_named_before_anything_is_written(env, monkeypatch, capsys):
    monkeypatch.setattr(env, 'check_python', lambda row: None)
    usage = shutil._ntuple_diskusage(total=100 * 2**30, used=99 * 2**30, free=2**30)
    monkeypatch.setattr(env.shutil, 'disk_usage', lambda path: usage)
    code, (line,) = main(env, monkeypatch, capsys)
    assert code == 1
    assert line.startswith('error: 1.0 GiB free in') and 'free some space' in line
    assert not env.VENV.exists()


def test_a_gpu_without_nvcc_is_told_what_to_install(env, monkeypatch):
    monkeypatch.delenv('PIP_FIND_LINKS', raising=False)
    monkeypatch.setattr(env.shutil, 'which', lambda name: name)
    torch = {**CPU_BUILD, 'cuda': '13.0', 'gpu': True}
    with pytest.raises(env.SetupError, match='or set CUDA_HOME'):
        env.check_compilers(torch)
    env.check_compilers({**torch, 'nvcc': True})
    env.check_compilers({**torch, 'gpu': False})


def test_no_compiler_is_asked_for_where_pip_may_find_a_compiled_wheel(env, monkeypatch):
    monkeypatch.setenv('PIP_FIND_LINKS', 'https://example.org/wheels')
    monkeypatch.setattr(env.shutil, 'which', lambda name: None)
    env.check_compilers()


def test_installed_without_a_torch_says_so(env, monkeypatch, capsys):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(env, 'check_python', lambda row: None)
    monkeypatch.setattr(metadata, 'distribution', missing)
    code, (line,) = main(env, monkeypatch, capsys, 'installed')
    assert code == 1
    assert line.startswith(f'error: TORCH=installed, but {sys.executable} has no torch')


@pytest.mark.parametrize(
    ('output', 'advice'),
    [
        ('OSError: [Errno 28] No space left on device', 'the disk is full: free some space'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1 make setup'),
        ('ERROR: No matching distribution found for torch==9', 'check TORCH='),
        ("Retrying after connection broken by 'Timeout'", 'check the network'),
        ('a.cpp:1:10: fatal error: Python.h: No such file', 'fatal error: Python.h: No such file'),
        ('ImportError: libGL.so.1: not found', 'ImportError: libGL.so.1: not found'),
        ('because ensurepip is not available', 'apt install python3-venv'),
        ('', 'a command failed'),
    ],
)
def test_a_failed_step_gives_its_cause_the_log_and_what_to_do(
    env, output, advice, monkeypatch, capsys
):
    env.CACHE.mkdir()
    monkeypatch.setattr(env, 'check_python', lambda row: None)
    monkeypatch.setattr(env, 'check_disk', lambda: None)
    failing = [sys.executable, '-c', f'print({output!r}); raise SystemExit(2)']
    run = env.run
    monkeypatch.setattr(env, 'run', lambda *command: run(*failing))
    code, (line,) = main(env, monkeypatch, capsys)
    assert code == 1
    assert advice in line and str(env.LOG) in line and '`make setup`' in line
    assert output in env.LOG.read_text()


def test_an_error_of_the_file_system_is_one_line_too(env, commands, monkeypatch, capsys):
    def full(row, torch):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(env, 'provide_mmcv', full)
    code, lines = main(env, monkeypatch, capsys)
    assert (code, lines) == (1, ['error: [Errno 28] No space left on device'])


def test_every_eighth_compiled_file_is_shown(env, capsys):
    for done in range(1, 78):
        env.show_progress(f'  [{done}/77] c++ -MMD -MF /tmp/mmcv/ops/csrc/nms.o.d -c nms.cpp\n')
        env.show_progress('  nms.cpp:5:10: warning: [8/16] is not at the start\n')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '      8 of 77 files' and lines[-1] == '      72 of 77 files'
    assert len(lines) == 9


# --- what the package asks for


def test_the_package_asks_for_no_openmmlab_distribution_outside_its_extras(tmp_path):
    command = [sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    required, *extras = (tmp_path / 'convnext_mm.egg-info/requires.txt').read_text().split('\n[')
    assert 'torch>=2.6' in required.split()
    assert not any(name.startswith(('mm', 'onedl')) for name in required.split())
    extras = dict(extra.split(']\n') for extra in extras)
    assert all(name.startswith('onedl-') for name in extras['onedl'].split())
    assert 'mm' not in extras['test']
