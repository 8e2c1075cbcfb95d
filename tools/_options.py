"""What the scripts of this folder share: options, and how a mistake of the user is reported."""

from __future__ import annotations

import argparse
import ast
import logging
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn


def _show_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an error that nothing catches, but not the traceback of a Ctrl-C."""
    if kind is not KeyboardInterrupt:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _show_uncaught  # before the imports below, which take seconds

from convnext_mm.errors import UserError  # noqa: E402
from convnext_mm.messages.wording import printable_lines  # noqa: E402

_REPORT = (
    'A class may refuse a value of the config in this way. If not, this is a mistake in '
    'convnext-mm: please report it with the lines above, the command and the output of '
    'tools/doctor.py'
)


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, as the tools report all mistakes."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'error: {message} ({self.prog} --help lists all arguments)\n')


class _Settings(argparse.Action):
    """Read KEY=VALUE pairs as MMEngine does, and also dicts: ``KEY="dict(a=1)"``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        # Not at the top: where MMEngine is missing, convnext_mm says how to install it.
        from mmengine.config import DictAction

        settings = dict(getattr(namespace, self.dest) or {})
        for pair in values:
            key, separator, text = pair.partition('=')
            if not separator or not key:
                parser.error(f'{option_string} {pair}: a setting is KEY=VALUE, without spaces')
            read = _dict if text.strip().startswith(('dict(', '{')) else DictAction._parse_iterable
            try:
                value = read(text)
                if isinstance(value, str) and value.startswith(('[', '(')):
                    raise ValueError('the bracket is not closed')
            except (AssertionError, SyntaxError, ValueError, RecursionError):
                parser.error(
                    f'{option_string} {pair}: the value cannot be read. It is a number, a text, '
                    '"[a,b]", "(a,b)" or "dict(a=1,b=\'text\')"'
                )
            settings[key] = value
        setattr(namespace, self.dest, settings)


def _dict(text: str) -> dict:
    """Read a dict of literals; no code is run."""

    class DictCalls(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args:
                return node
            keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
            return ast.Dict(keys, [keyword.value for keyword in node.keywords])

    return ast.literal_eval(DictCalls().visit(ast.parse(text.strip(), mode='eval')))


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, which every tool that reads a config has."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_Settings,
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
        traceback.print_exception(error)
        print(f'error: {type(error).__name__}: {error}\n{_REPORT}', file=sys.stderr)
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
