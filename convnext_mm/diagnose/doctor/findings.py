"""What a check finds, and how it is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from textwrap import indent

from rich.console import Console
from rich.table import Table
from rich.text import Text

_INDENT = 4  # columns, of the marks
_SUBJECT = 20

# What a failure says -> what to do about it.
_ADVICE = (
    (
        "'mmcv._ext'",
        'this MMCV has no compiled operators (mmcv-lite, or built without them): make setup '
        'compiles them, or pip install mmcv from source',
    ),
    ('undefined symbol', 'MMCV was compiled for another PyTorch: compile it again (make setup)'),
    ('pkg_resources', "pip install 'setuptools<82'"),
    ('no kernel image', 'MMCV or PyTorch was compiled for other GPUs: compile MMCV again here'),
    ('not compiled with GPU', 'MMCV was compiled without CUDA: compile it again (make setup)'),
    (
        'is used but incompatible',
        'install the versions that `pip install "convnext-mm[openmmlab]"`',
    ),
    ('ftfy', 'pip install ftfy regex, which MMSegmentation needs and does not ask for'),
)


class Level(Enum):
    """How much a finding matters: all is well, worth knowing, to be put right."""

    OK = ('✓', 'green')
    NOTE = ('•', 'yellow')
    WRONG = ('✗', 'bold red')


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        level: Only ``WRONG`` makes the doctor's exit code 1.
        subject: What was looked at.
        text: What is so.
        todo: What to do about it, for anything but OK.
    """

    level: Level
    subject: str
    text: str
    todo: str = ''


def ok(subject: str, text: str) -> Finding:
    return Finding(Level.OK, subject, text)


def note(subject: str, text: str, todo: str = '') -> Finding:
    return Finding(Level.NOTE, subject, text, todo)


def wrong(subject: str, text: str, todo: str = '') -> Finding:
    return Finding(Level.WRONG, subject, text, todo)


def guarded(
    subject: str, check: Callable[..., Finding | Iterable[Finding]], *args: object
) -> Iterator[Finding]:
    """What a check finds; if it fails, that it did, and what is known to help."""
    try:
        found = check(*args)
        yield from [found] if isinstance(found, Finding) else found
    except Exception as error:  # to tell what is broken is what this is for
        text = str(error).strip() or type(error).__name__
        todo = next((advice for sign, advice in _ADVICE if sign in text), '')
        first, _, rest = text.partition('\n')
        if isinstance(error, ImportError):
            first = f'cannot be imported: {first}'
        yield wrong(subject, first, todo or rest)


def seconds(start: float) -> str:
    return f'{time.perf_counter() - start:.1f} s'


def show(title: str, findings: Iterable[Finding], console: Console) -> list[Finding]:
    """Print findings as they come, below a title; return them."""
    console.print(Text(f'\n{title}', 'bold'))
    shown = []
    for finding in findings:
        mark, style = finding.level.value
        line = Table.grid(padding=(0, 1))
        for width in (_INDENT - 1, _SUBJECT, None):
            line.add_column(width=width, overflow='fold')
        wrong = finding.level is Level.WRONG
        line.add_row(
            Text(f'  {mark}', style),
            Text(finding.subject, style if wrong else ''),
            Text(finding.text, '' if wrong else 'dim'),
        )
        todo = finding.todo.strip('\n')
        if todo and '\n' not in todo:
            line.add_row('', '', Text(f'→ {todo}', 'cyan'))
        console.print(line)
        if '\n' in todo:  # with commands and addresses, which no line break may cut
            console.print(Text(indent(todo, ' ' * _INDENT), 'cyan'), soft_wrap=True)
        shown.append(finding)
    return shown
