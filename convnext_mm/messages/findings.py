"""Findings: the results of a check, and how they are raised, printed or logged.

A check is a function of a config, a data set or an installation that yields findings. Its caller
decides what to do: a training raises on errors (:func:`raise_errors`), a tool prints all findings
(:func:`show`).
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from rich.console import Console
from rich.text import Text

from convnext_mm.errors import UserError
from convnext_mm.messages.wording import listed, printable_lines

_MARGIN = '  '
_LEVEL_WIDTH = 8
_WHERE_WIDTH = 20
_LEAST_WIDTH = 40  # columns of text in a narrow terminal


class Level(Enum):
    """How much a finding matters, most serious first; the value is its colour in a terminal."""

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
        where: The split, setting or package that was checked; empty for a whole data set.
        what: What was found.
        examples: The cases, each in words, if there can be several.
        remedy: What to do, or what was done; may have several lines.
        page: The page of the documentation that explains it, if one is known.
    """

    level: Level
    where: str
    what: str
    examples: tuple[str, ...] = ()
    remedy: str = ''
    page: str = ''

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
        UserError: Its message has a line for each error, and one or more for each remedy.
    """
    errors = errors_in(findings)
    if errors:
        raise UserError(as_text(errors))


def as_text(findings: Iterable[Finding]) -> str:
    """Write findings as plain text, for an error message or a log file."""
    lines = []
    for finding in findings:
        where = f'{finding.where}: ' if finding.where else ''
        lines.append(f'{where}{finding.text}')
        if finding.remedy:
            lines.append(textwrap.indent(finding.remedy.strip('\n'), _MARGIN))
    return '\n'.join(lines)


def show(
    findings: Iterable[Finding], console: Console, where_width: int = _WHERE_WIDTH
) -> list[Finding]:
    """Print each finding as soon as it is there, with its remedy below; return all of them.

    Long lines are wrapped in a terminal only. Names, and the lines of a remedy that has several
    (commands, addresses), are never cut: they can be copied.

    Args:
        findings: The results of a check; a generator runs while its findings are printed.
        console: Where to print.
        where_width: Columns for :attr:`Finding.where`.
    """
    indent = ' ' * (len(_MARGIN) + _LEVEL_WIDTH + where_width + 2)
    width = max(_LEAST_WIDTH, console.width - len(indent)) if console.is_terminal else sys.maxsize
    shown = []
    for finding in findings:
        level = f'{_MARGIN}{finding.level.name.lower():<{_LEVEL_WIDTH}} '
        where = f'{printable_lines(finding.where):<{where_width}} '
        dim = 'dim' if finding.level is Level.OK else ''
        lines = _wrap(finding.text, width)
        text = Text.assemble((level, finding.level.value), where, (f'\n{indent}'.join(lines), dim))
        console.print(text, soft_wrap=True)
        remedy = printable_lines(finding.remedy.strip('\n'))
        if '\n' in remedy:
            console.print(Text(textwrap.indent(remedy, _MARGIN), 'cyan'), soft_wrap=True)
        elif remedy:
            lines = _wrap(f'-> {remedy}', width)
            console.print(Text(textwrap.indent('\n'.join(lines), indent), 'cyan'), soft_wrap=True)
        if finding.page and finding.level is not Level.OK:
            console.print(Text(f'{indent}see {finding.page}', 'dim'), soft_wrap=True)
        shown.append(finding)
    return shown


def _wrap(text: str, width: int) -> list[str]:
    lines = printable_lines(text).splitlines() or ['']
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False).wrap
    return [part for line in lines for part in wrap(line) or ['']]
