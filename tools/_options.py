"""What the scripts of this folder share: options, and how a user's mistake is reported."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from convnext_mm.errors import UserError
from convnext_mm.messages.wording import printable_lines


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, which every tool that reads a config has."""
    # Not at the top: where MMEngine is missing, convnext_mm says how to install it.
    from mmengine.config import DictAction

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings of the config to override; a list is key="[a,b]" or key=a,b',
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share. They are MMDetection's."""
    parser.add_argument(
        '--work-dir',
        help="where logs and results go (the config's work_dir, else work_dirs/<config name>)",
    )
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument(
        '--verbose', action='store_true', help='print the whole log, as MMEngine does'
    )
    # torch.distributed.launch passes --local-rank, older versions --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


def set_local_rank(args: argparse.Namespace) -> None:
    """Set LOCAL_RANK, which MMEngine reads, where a launcher passed it as an option only."""
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))


def exit_code(job: Callable[..., object], *arguments: object) -> int:
    """Run a job. A mistake of the user becomes one clear message and exit code 2.

    Errors that are no mistake of the user have an exit code of their own.
    """
    try:
        job(*arguments)
    except UserError as error:
        print(f'error: {printable_lines(str(error))}', file=sys.stderr)
        return error.exit_code
    return 0
