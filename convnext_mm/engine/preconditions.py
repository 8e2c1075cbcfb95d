"""Check the conditions of a run that its config does not show: launcher and work dir."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from convnext_mm.messages.findings import Finding, error
from convnext_mm.messages.wording import listed

# Launcher -> the variables that it sets and MMEngine reads, and how a run is started with it.
_LAUNCHERS = {
    'pytorch': (
        ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'),
        'start it with torchrun: tools/dist_train.sh CONFIG GPUS, or tools/dist_test.sh',
    ),
    'slurm': (
        ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
        'start it with srun: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR',
    ),
    'mpi': (
        ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'),
        'start it with Open MPI: mpirun -np GPUS -x MASTER_ADDR=HOST python tools/train.py CONFIG '
        '--launcher mpi',
    ),
}


def check_launcher(launcher: str) -> Iterator[Finding]:
    """Check that the processes were started as the option ``--launcher`` says."""
    needed, advice = _LAUNCHERS.get(launcher, ((), ''))
    missing = [name for name in needed if name not in os.environ]
    if missing:
        yield error(
            f'--launcher {launcher}', f'{listed(missing, 5)} not in the environment; {advice}'
        )


def check_work_dir(work_dir: str | Path) -> Iterator[Finding]:
    """Check that a work dir exists and is writable, or can be created; create nothing."""
    path = Path(work_dir).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    if not path.is_dir():
        yield error('work dir', f'{work_dir} cannot be a folder: {path} is a file')
    elif not os.access(path, os.W_OK | os.X_OK):
        yield error('work dir', f'{work_dir} cannot be written: no permission in {path}')
