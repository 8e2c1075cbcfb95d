#!/usr/bin/env python
"""Does a training survive what happens to machines? benchmarks/survive.py [--kills 20]

A small Cascade Mask R-CNN trains on the built-in shapes with random flips and stochastic depth.
Each trial stops it once, resumes it to its end, and compares all parameters and the optimizer state
with a training that was never stopped. A row of the table is a kind of trial: kill -9 at random
moments, with one process, with two, or of one of the two; signals, a damaged newest checkpoint, a
full disk.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from convnext_mm.datasets.shapes import write_coco

ROOT = Path(__file__).resolve().parents[1]
CONFIG = f"""
_base_ = '{ROOT}/configs/cascade/convnext_atto_shapes.py'
data_root = 'DATA/'
model = dict(backbone=dict(drop_path_rate=0.2))
train_dataloader = dict(
    batch_size=2,
    num_workers=WORKERS,
    persistent_workers=WORKERS > 0,
    dataset=dict(data_root=data_root),
)
val_dataloader = dict(dataset=dict(data_root=data_root), num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=2, T_max=2)]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2), logger=dict(interval=1))
randomness = dict(seed=1)
"""
MINUTES = 0.03  # between checkpoints of the clock


class Training:
    """A training in a folder of its own that can be started, stopped and resumed."""

    def __init__(self, folder: Path, config: Path, processes: int) -> None:
        self.folder, self.config, self.processes = folder, config, processes

    def start(self, *, resume: bool = False, file_limit: int | None = None) -> subprocess.Popen:
        command = [sys.executable]
        options = ['--work-dir', self.folder, '--checkpoint-minutes', MINUTES, '--no-report']
        if self.processes > 1:
            command += [ROOT / 'tools' / 'launch.py', self.processes]
            options += ['--launcher', 'pytorch']
        command += [ROOT / 'tools' / 'train.py', self.config, *options]
        command += ['--resume'] if resume else []

        def limit() -> None:
            if file_limit:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        with open(self.folder.with_suffix('.log'), 'a') as log:
            return subprocess.Popen(
                list(map(str, command)),
                stdout=log,
                stderr=log,
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
                start_new_session=True,
                preexec_fn=limit,
            )

    def checkpoints(self) -> list[Path]:
        found = [*self.folder.glob('epoch_*.pth'), *self.folder.glob('iter_*.pth')]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)

    def wait_for_checkpoint(self, process: subprocess.Popen) -> None:
        while not self.checkpoints():
            if process.poll() is not None:
                raise RuntimeError(f'no checkpoint was written: see {self.folder}.log')
            time.sleep(0.05)

    def finish(self) -> dict:
        """Resume to the end and return the last checkpoint."""
        if self.start(resume=True).wait() != 0:
            raise RuntimeError(f'the training failed: see {self.folder}.log')
        return self.end()

    def end(self) -> dict:
        return torch.load(self.folder / 'epoch_2.pth', weights_only=False)


def kill(training: Training, generator: random.Random, seconds: float) -> str:
    while True:
        process = training.start()
        training.wait_for_checkpoint(process)
        time.sleep(generator.uniform(0, seconds))
        if process.poll() is None:
            break
        shutil.rmtree(training.folder)  # It ended before it could be killed.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return f'killed after {training.checkpoints()[-1].stem}'


def kill_one_of_two(training: Training, generator: random.Random, seconds: float) -> str:
    process = training.start()
    training.wait_for_checkpoint(process)
    time.sleep(generator.uniform(0, seconds / 2))
    pids = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    start = time.monotonic()
    os.kill(int(generator.choice(pids)), signal.SIGKILL)
    code = process.wait()
    return f'exit code {code} after {time.monotonic() - start:.0f} s'


def stop_by(number: signal.Signals) -> Callable[..., str]:
    def stop(training: Training, generator: random.Random, seconds: float) -> str:
        process = training.start()
        training.wait_for_checkpoint(process)
        time.sleep(generator.uniform(0, seconds / 2))
        process.send_signal(number)
        return f'exit code {process.wait()}'

    return stop


def damage(training: Training, generator: random.Random, seconds: float) -> str:
    kill(training, generator, seconds)
    while len(training.checkpoints()) < 2:  # a good one must lie beside the damaged one
        shutil.copy2(training.checkpoints()[-1], training.folder / 'iter_1.pth')
    newest = training.checkpoints()[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[: generator.randrange(len(content))])
    os.utime(newest)
    return f'{newest.name} cut to {newest.stat().st_size:,} of {len(content):,} bytes'


def fill_disk(training: Training, generator: random.Random, seconds: float) -> str:
    process = training.start()
    training.wait_for_checkpoint(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    size = training.checkpoints()[-1].stat().st_size
    code = training.start(resume=True, file_limit=size // 2).wait()
    return f'exit code {code}'


def equal(a: object, b: object) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--kills', type=int, default=20, help='kill -9 at random (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (%(default)s)')
    parser.add_argument('--keep', type=Path, help='folder for runs and logs (a temporary one)')
    args = parser.parse_args()
    root = args.keep or Path(tempfile.mkdtemp(prefix='survive-'))
    write_coco(root / 'shapes', train=24, val=4, height=64, width=64)
    two = max(1, args.kills * 3 // 10)
    kinds = [
        ('kill -9, 1 process', kill, 1, 0, args.kills - two - two // 2),
        ('kill -9, 1 process, 2 workers', kill, 1, 2, two // 2),
        ('kill -9, 2 processes', kill, 2, 0, two),
        *((f'{number.name}, 1 process', stop_by(number), 1, 0, 1) for number in
          (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)),
        *((f'{number.name}, 2 processes', stop_by(number), 2, 0, 1) for number in
          (signal.SIGTERM, signal.SIGUSR1)),
        ('kill -9 of 1 of 2 processes', kill_one_of_two, 2, 0, 2),
        ('newest checkpoint cut short', damage, 1, 0, 2),
        ('disk full', fill_disk, 1, 0, 1),
    ]  # fmt: skip
    generator = random.Random(args.seed)
    expected, seconds = {}, {}
    table = Table('trial', 'times', 'equal to the uninterrupted run', 'what happened')
    passed = True
    for name, stop, processes, workers, times in kinds:
        if not times:
            continue
        config = root / f'config_{workers}.py'
        config.write_text(
            CONFIG.replace('DATA', str(root / 'shapes')).replace('WORKERS', str(workers))
        )
        if processes not in expected:
            whole = Training(root / f'whole_{processes}', config, processes)
            process = whole.start()
            whole.wait_for_checkpoint(process)
            start = time.monotonic()
            process.wait()
            seconds[processes] = time.monotonic() - start
            expected[processes] = whole.end()
        same, events = 0, []
        for trial in range(times):
            folder = root / f'{name.replace(" ", "_").replace(",", "")}_{trial}'
            training = Training(folder, config, processes)
            events.append(stop(training, generator, seconds[processes]))
            end = training.finish()
            same += all(
                equal(end[key], expected[processes][key]) for key in ('state_dict', 'optimizer')
            )
            print(f'{name}, {trial + 1} of {times}: {events[-1]}, {same} equal', flush=True)
        passed &= same == times
        table.add_row(name, str(times), f'{same} of {times}', '; '.join(dict.fromkeys(events)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(f'runs and logs: {root}')
    return 0 if passed else 1


if __name__ == '__main__':
    sys.exit(main())
