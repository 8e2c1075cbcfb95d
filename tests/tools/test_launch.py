"""The launcher of several processes: environment, signals, exit codes, death of a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convnext_mm.cli import launch
from tests.conftest import ROOT

SCRIPT = """
import os, pathlib, signal, sys, time

rank = os.environ['RANK']
folder = pathlib.Path(sys.argv[1])
keys = ('LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'OMP_NUM_THREADS')
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(folder / f'{rank}.new').write_text(' '.join(os.environ[key] for key in keys))
(folder / f'{rank}.new').rename(folder / rank)
time.sleep(60 if sys.argv[2] == 'wait' else 0)
sys.exit(int(sys.argv[2]) if rank == sys.argv[3] else 0)
"""


@pytest.fixture
def started(tmp_path):
    """Start a small script in two processes, and return the launcher."""
    (tmp_path / 'script.py').write_text(SCRIPT)
    processes = []

    def started(*arguments, **environment):
        command = [sys.executable, ROOT / 'tools' / 'launch.py', '2', tmp_path / 'script.py']
        process = subprocess.Popen(
            list(map(str, [*command, tmp_path, *arguments])),
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def wait_for_both(folder):
    while not all((folder / rank).exists() for rank in '01'):
        time.sleep(0.01)


def children(process):
    path = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    return [int(pid) for pid in path.read_text().split()]


def is_running(pid):
    stat = Path(f'/proc/{pid}/stat')
    return stat.exists() and stat.read_text().split()[2] != 'Z'


def test_each_process_gets_the_environment_that_mmengine_reads(started, tmp_path):
    assert started(0, 0).wait(timeout=60) == 0
    assert (tmp_path / '0').read_text().split()[:4] == ['0', '2', '2', '127.0.0.1']
    assert (tmp_path / '1').read_text().split()[:4] == ['1', '2', '2', '127.0.0.1']


def test_the_second_of_two_machines_numbers_its_processes_from_2(started, tmp_path):
    where = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', OMP_NUM_THREADS='3')
    assert started(0, 0, **where).wait(timeout=60) == 0
    assert (tmp_path / '2').read_text() == '0 4 2 10.0.0.1 3'
    assert (tmp_path / '3').read_text() == '1 4 2 10.0.0.1 3'


def test_the_exit_code_comes_from_the_process_that_failed(started):
    assert started(7, 1).wait(timeout=60) == 7


def test_a_signal_reaches_all_processes_and_their_exit_code_is_kept(started, tmp_path):
    process = started('wait', 0)
    wait_for_both(tmp_path)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75


def test_the_death_of_a_process_ends_the_others_in_time(monkeypatch, capsys):
    monkeypatch.setattr(launch, 'GRACE', 0.2)
    # The other process ignores SIGTERM, like a process that waits for a dead one.
    deaf = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'
    processes = [launch.start([sys.executable, '-c', deaf], dict(os.environ)) for _ in range(2)]
    processes[1].kill()
    start = time.monotonic()
    assert launch.wait(processes) == 128 + signal.SIGKILL
    assert time.monotonic() - start < 10
    assert processes[0].returncode == -signal.SIGKILL
    message = 'process 1 of 2 was killed by SIGKILL, and the others were ended'
    assert message in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != 'linux', reason='Linux kills the children of a dead process')
def test_no_process_outlives_a_launcher_that_is_killed(started, tmp_path):
    process = started('wait', 0)
    wait_for_both(tmp_path)
    pids = children(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    'arguments, environment, message',
    [
        ([], {}, 'usage: convnext-mm launch GPUS train CONFIG'),
        (['many', 'x.py'], {}, "the number of GPUs is 'many'; it must be a positive integer"),
        (['0', 'x.py'], {}, "the number of GPUs is '0'"),
        (['2', 'tran'], {}, "'tran' is neither train nor test, nor a script"),
        (['2', 'x.py'], dict(NNODES='two'), "NNODES is 'two'; it must be a positive integer"),
        (['2', 'x.py'], dict(NNODES='2'), 'the environment lacks NODE_RANK and MASTER_ADDR'),
    ],
)
def test_a_wrong_call_is_one_line(arguments, environment, message):
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'launch.py', *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith('error: ') and message in done.stderr
    assert done.stderr.count('\n') == 1
