"""Log the messages that a person must see, once."""

from __future__ import annotations

import logging
import os

from convnext_mm.messages.wording import printable_lines


def log_once(message: str, level: int = logging.INFO) -> None:
    """Log a message in the first process only, and show it on the terminal.

    During a training or test the terminal shows these messages, and warnings of this package. All
    other messages go to the log file only: see :mod:`convnext_mm.engine.terminal`.
    """
    if is_first_process():
        from mmengine.logging import MMLogger  # here, as the checks of data need no MMEngine

        message = printable_lines(message)  # it may have names of files and classes
        MMLogger.get_current_instance().log(level, message, extra={'shown': True})


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that a launcher started.

    Other than the functions of ``mmengine.dist``, this works before the processes are connected.
    """
    ranks = (os.environ.get(name) for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'))
    return next(filter(None, ranks), '0') == '0'
