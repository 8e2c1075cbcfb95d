"""Run a command, and report a mistake of the user in one line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable

from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import printable_lines
from convnext_mm.registration import explain_missing

_REPORT = (
    'A class may refuse a value of the config in this way. If not, this is a mistake in '
    'convnext-mm: please report it with the lines above, the command and the output of '
)


def exit_code(job: Callable[[argparse.Namespace], object], arguments: argparse.Namespace) -> int:
    """Run a job. A mistake of the user becomes one clear message and exit code 2.

    Errors that are no mistake of the user have an exit code of their own. ``--verbose`` shows the
    traceback too. An unexpected error is a mistake of this package: it ends in its traceback, how
    to report it, and exit code 1.
    """
    code = 0
    try:
        job(arguments)
    except KeyboardInterrupt:
        return 130  # as shells do after Ctrl-C
    except (UserError, OSError) as error:  # An OSError names a file or a host.
        if getattr(arguments, 'verbose', False):
            traceback.print_exception(error)
        # In one write: several processes may print at once.
        sys.stderr.write(f'error: {printable_lines(str(error))}\n')
        code = getattr(error, 'exit_code', 2)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == 'mmengine':
            print(f'error: {explain_missing(error)}', file=sys.stderr)
            return 2
        traceback.print_exception(error)
        report = _REPORT + command('doctor')
        print(f'error: {type(error).__name__}: {error}\n{report}', file=sys.stderr)
        return 1
    leave_processes(code)
    return code


def leave_processes(code: int) -> None:
    """End a process of several here, without the end of the interpreter.

    The threads of PyTorch's gloo sometimes abort a process while the interpreter ends. A launcher
    would take that for a failed training.
    """
    torch = sys.modules.get('torch')
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
