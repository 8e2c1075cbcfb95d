"""Log in one process of several."""

from __future__ import annotations

import logging
import os

from mmengine.logging import print_log


def log_once(message: str, level: int = logging.INFO) -> None:
    """Log before there is a Runner, in the first of the processes that a launcher started."""
    ranks = (os.environ.get(name) for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'))
    if next(filter(None, ranks), '0') == '0':
        print_log(message, logger='current', level=level)
