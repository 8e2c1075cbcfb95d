"""What a check finds, and how a person reads it.

A check is a function of a config, a data set or an installation that yields findings. Its caller
decides what to do: a training raises on errors (:func:`raise_errors`), a tool prints all findings
(:func:`show`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from textwrap import indent

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convnext_mm.errors import UserError
from convnext_mm.messages.wording import listed

_WIDTHS = (2, 8, 20)  # columns of the margin, the level and the place


class Level(Enum):
    """How much a finding matters, the most first; the value is its colour in a terminal."""

    ERROR = 'red'
    REPAIRED = 'yellow'
    NOTE = 'cyan'
    OK = 'green'


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        level: ``ERROR`` stops a training, ``REPAIRED`` was corrected in a copy, ``NOTE`` is worth
            knowing, ``OK`` is as it should be.
        where: The split, setting or package that was looked at; empty for a whole data set.
        what: What was found.
        examples: The cases, each in words, if there can be several.
        remedy: What to do, or what was done.
    """

    level: Level
    where: str
    what: str
    examples: tuple[str, ...] = ()
    remedy: str = ''

    @property
    def text(self) -> str:
        """What was found, the number of cases and the first of them."""
        if not self.examples:
            return self.what
        return f'{self.what}: {len(self.examples):,} ({listed(self.examples)})'


def ok(where: str, what: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, where, what)


def note(where: str, what: str, remedy: str = '') -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(Level.NOTE, where, what, remedy=remedy)


def error(where: str, what: str, remedy: str = '') -> Finding:
    """Return a finding that stops a training."""
    return Finding(Level.ERROR, where, what, remedy=remedy)


def by_level(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, errors first; findings of one level keep their order."""
    levels = list(Level)
    return sorted(findings, key=lambda finding: levels.index(finding.level))


def errors_in(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that stop a training."""
    return [finding for finding in findings if finding.level is Level.ERROR]


def raise_errors(findings: Iterable[Finding]) -> None:
    """Stop if there is an error among the findings.

    Raises:
        UserError: Its message has a line for each error, and one for each remedy.
    """
    errors = errors_in(findings)
    if errors:
        raise UserError(as_text(errors))


def as_text(findings: Iterable[Finding]) -> str:
    """Write findings as plain text, as for a message or a log file."""
    lines = []
    for finding in findings:
        where = f'{finding.where}: ' if finding.where else ''
        lines.append(f'{where}{finding.text}')
        if finding.remedy:
            lines.append(indent(finding.remedy, '  '))
    return '\n'.join(lines)


def show(findings: Iterable[Finding], console: Console) -> list[Finding]:
    """Print findings as they come, one line each and one for the remedy; return them."""
    shown = []
    for finding in findings:
        style = finding.level.value
        line = Table.grid(padding=(0, 1))
        for width in (*_WIDTHS, None):
            line.add_column(width=width, overflow='fold')
        dim = 'dim' if finding.level is Level.OK else ''
        level = Text(finding.level.name.lower(), style)
        line.add_row('', level, finding.where, Text(finding.text, dim))
        remedy = finding.remedy.strip('\n')
        if remedy and '\n' not in remedy:
            line.add_row('', '', '', Text(f'-> {remedy}', 'cyan'))
        console.print(line)
        if '\n' in remedy:  # It has commands and addresses, which no line break may cut.
            console.print(Text(indent(remedy, ' ' * _WIDTHS[0]), 'cyan'), soft_wrap=True)
        shown.append(finding)
    return shown
