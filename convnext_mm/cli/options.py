"""Options that several commands share."""

from __future__ import annotations

import argparse
import ast
import os
from typing import NoReturn


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


def let_cores_to_workers() -> None:
    """Let OpenMP's threads sleep while they wait. Call it before torch is imported.

    Spinning threads take the cores from the data-loader workers. On a busy CPU that makes training
    several times slower.
    """
    os.environ.setdefault('GOMP_SPINCOUNT', '1000')


def set_local_rank(args: argparse.Namespace) -> None:
    """Set LOCAL_RANK, which MMEngine reads, where a launcher passed it as an option only."""
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
