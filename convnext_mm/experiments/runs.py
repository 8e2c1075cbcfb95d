"""Run many trainings, several at a time, each in a process of its own.

Each training has a folder with its ``config.py``, the log and the checkpoints. When it has ended,
:data:`RESULT` with its metrics is there, and it is not run again. A training that was interrupted
goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from convnext_mm.errors import StoppedError, UserError
from convnext_mm.evaluation.training_log import read_scalars, read_trainings
from convnext_mm.messages.wording import counted

RESULT = 'result.json'
_OUTPUT = 'output.txt'
_SECONDS_BETWEEN_LOOKS = 0.5
_TRAIN = 'import sys; from convnext_mm.cli.train import main; sys.exit(main())'


@dataclass(frozen=True)
class Run:
    """A training to run.

    Attributes:
        name: A name for messages.
        cfg: Its config with ``train_cfg.max_iters``; ``work_dir`` is its folder.
    """

    name: str
    cfg: Config

    @property
    def folder(self) -> Path:
        return Path(self.cfg.work_dir)

    @property
    def iterations(self) -> int:
        return self.cfg.train_cfg.max_iters


def run_all(runs: Sequence[Run], jobs: int, console: Console) -> list[dict]:
    """Run the trainings that have no result yet, and return the metrics of all.

    Args:
        runs: The trainings.
        jobs: How many run at a time. They share the CPU cores.
        console: Where to show the progress bar.

    Raises:
        UserError: A training failed, or its folder has the results of other settings.
        StoppedError: The user stopped the command.
    """
    for run in runs:
        _write_config(run)
    waiting = [run for run in runs if not _result(run).exists()]
    finished = sum(t.iterations for t in runs if t not in waiting)
    columns = (
        *(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()),
        *(
            TextColumn('iterations,'),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
        ),
    )
    running: dict[subprocess.Popen, Run] = {}
    progress = Progress(*columns, console=console, speed_estimate_period=600)
    with _interrupted_by_sigterm(), progress as bar:
        task = bar.add_task('', total=sum(t.iterations for t in runs), completed=finished)
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    run = waiting.pop(0)
                    running[_start(run, jobs)] = run
                for process in [process for process in running if process.poll() is not None]:
                    run = running.pop(process)
                    if process.returncode:
                        raise UserError(_failure(run))
                    _write_result(run)
                    finished += run.iterations
                done = finished + sum(_iterations_done(t.folder) for t in running.values())
                left = len(waiting) + len(running)
                bar.update(task, completed=done, description=f'{counted(left, "training")} to do:')
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            raise StoppedError('stopped; the same command goes on') from None
        finally:
            for process in running:
                process.terminate()  # The training writes a checkpoint.
            for process in running:
                process.wait()
    return [json.loads(_result(run).read_text()) for run in runs]


def _write_config(run: Run) -> None:
    """Write the config of a training, unless it is there."""
    path, text = run.folder / 'config.py', run.cfg.pretty_text
    if path.exists() and path.read_text() != text:
        raise UserError(
            f'{run.folder} has results of other settings: give another --work-dir, or delete '
            'this folder'
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _start(run: Run, jobs: int) -> subprocess.Popen:
    arguments = [run.folder / 'config.py', '--work-dir', run.folder]
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    with (run.folder / _OUTPUT).open('wb') as output:
        return subprocess.Popen(
            [sys.executable, '-c', _TRAIN, *arguments, '--resume', '--no-report'],
            stdout=output,
            stderr=subprocess.STDOUT,
            # GOMP_SPINCOUNT as in tools/train.py.
            env=dict(os.environ, OMP_NUM_THREADS=str(threads), GOMP_SPINCOUNT='1000'),
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the trainings.
        )


def _result(run: Run) -> Path:
    return run.folder / RESULT


def _write_result(run: Run) -> None:
    """Write the last value of each metric."""
    scalars = read_scalars(run.folder)
    metrics = {name: values[-1][1] for name, values in scalars.items() if '/' in name}
    unfinished = run.folder / f'.{RESULT}'
    unfinished.write_text(json.dumps(metrics, indent=2))
    unfinished.rename(_result(run))


def _iterations_done(folder: Path) -> int:
    logs = read_trainings(folder)
    return logs[-1][-1][0] if logs else 0


def _failure(run: Run) -> str:
    output = run.folder / _OUTPUT
    lines = output.read_text(errors='replace').rstrip().split('\n')
    said = next((line for line in reversed(lines) if line.startswith('error:')), lines[-1])
    return f'the training {run.name} failed: {said.removeprefix("error: ")} ({output})'


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that no training is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
