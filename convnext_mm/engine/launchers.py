"""Check that the processes of a run were started by the launcher that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator

from convnext_mm.messages.findings import Finding, error
from convnext_mm.messages.wording import listed

# Launcher -> the variables that it sets and MMEngine reads, and how a run is started with it.
_LAUNCHERS = {
    'pytorch': (
        ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'),
        'start it with tools/dist_train.sh CONFIG GPUS, or tools/dist_test.sh',
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
