"""What is wrong with a data set, and how a user is told: all at once, each with its examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

# Stops a training; put right in a copy; worth knowing.
ERROR, REPAIRED, NOTE = 'error', 'repaired', 'note'
_COLOURS = {ERROR: 'red', REPAIRED: 'yellow', NOTE: 'cyan'}
_SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """One kind of problem.

    Attributes:
        level: ``ERROR``, ``REPAIRED`` or ``NOTE``.
        part: The split it is in, or '' for the whole set.
        what: What is so, as a plural: ``objects without an area``.
        examples: Each case, in words.
        remedy: What was done about it, or what to do.
    """

    level: str
    part: str
    what: str
    examples: tuple[str, ...]
    remedy: str = ''

    def lines(self) -> Iterator[str]:
        """What it is and how often; the first examples; the remedy."""
        yield f'{self.what}: {len(self.examples):,}'
        more = len(self.examples) - _SHOWN
        yield ', '.join(self.examples[:_SHOWN]) + (f', and {more:,} more' if more > 0 else '')
        if self.remedy:
            yield self.remedy


class Problems:
    """The problems of a data set, in the order of their weight."""

    def __init__(self) -> None:
        self._all: list[Problem] = []

    def add(
        self, level: str, part: str, what: str, examples: Iterable[object], remedy: str = ''
    ) -> bool:
        """Take up a problem, unless there is no example of it; returns whether there is."""
        examples = tuple(map(str, examples))
        if examples:
            self._all.append(Problem(level, part, what, examples, remedy))
        return bool(examples)

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted(self._all, key=lambda problem: list(_COLOURS).index(problem.level)))

    def of(self, level: str) -> list[Problem]:
        return [problem for problem in self if problem.level == level]

    def __str__(self) -> str:
        """Plain text, as for a log file."""
        return '\n'.join(
            f'{problem.level:<8}  {problem.part:<5}  ' + f'\n{"":19}'.join(problem.lines())
            for problem in self
        )

    def show(self, console: Console) -> None:
        for problem in self:
            first, *others = problem.lines()
            head = Text(f'{problem.level:<8}', _COLOURS[problem.level])
            console.print('', head, f'{problem.part:<5}', first, sep='  ')
            for line in others:
                console.print(f'{"":19}{line}', style='dim')
