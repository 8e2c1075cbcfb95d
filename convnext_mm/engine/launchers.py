"""Check that the processes of a run were started by the launcher that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator

from convnext_mm.messages.commands import command, runs_script
from convnext_mm.messages.findings import Finding, error
from convnext_mm.messages.wording import listed

# Launcher -> the variables that it sets and MMEngine reads.
_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'),
}


def check_launcher(launcher: str) -> Iterator[Finding]:
    """Check that the processes were started as the option ``--launcher`` says."""
    missing = [name for name in _VARIABLES.get(launcher, ()) if name not in os.environ]
    if missing:
        yield error(
            f'--launcher {launcher}',
            f'{listed(missing, 5)} not in the environment; start it with {_start(launcher)}',
        )


def _start(launcher: str) -> str:
    if launcher == 'mpi':
        train = command('train').replace('tools/', 'python tools/')
        return f'Open MPI: mpirun -np GPUS -x MASTER_ADDR=HOST {train} CONFIG --launcher mpi'
    if not runs_script():
        if launcher == 'slurm':
            return 'srun: srun convnext-mm train CONFIG --launcher slurm'
        return 'convnext-mm launch GPUS train CONFIG'
    if launcher == 'slurm':
        return 'srun: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR'
    return 'tools/dist_train.sh CONFIG GPUS, or tools/dist_test.sh'
