"""How numbers and lists are written, in messages and in the report."""

from __future__ import annotations

from collections.abc import Iterable, Sized

_LISTED = 3


def percent(value: float) -> str:
    """Write a share as a number of percent; a negative one, which does not exist, as a dash."""
    return '\N{EN DASH}' if value < 0 else f'{100 * value:.1f}'


def counted(number: float, noun: str) -> str:
    """Write a number and its noun: ``1 class``, ``1,003 objects``."""
    plural = 'es' if noun.endswith(('s', 'x', 'tch', 'nch')) else 's'
    return f'{number:,} {noun}{"" if number == 1 else plural}'


def listed(things: Iterable[object], limit: int = _LISTED) -> str:
    """Write the first of a list and the number of the others: ``a, b, c and 4 more``."""
    names = [str(thing) for thing in things]
    more = len(names) - limit
    return ', '.join(names[:limit]) + (f' and {more:,} more' if more > 0 else '')


def such_as(names: Sized, noun: str = 'tensor') -> str:
    """Write how many there are and the first of them: ``5 tensors (a, b, c and 2 more)``."""
    return f'{counted(len(names), noun)} ({listed(names)})'
