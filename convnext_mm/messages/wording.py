"""Write numbers, plurals and long lists the same way in every message and in the report."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable

_LISTED = 3
# Unicode's categories of control characters, line ends and surrogates, the latter of which stand
# for bytes in file names that are not UTF-8.
_UNPRINTABLE = ('Cc', 'Cs', 'Zl', 'Zp')


def percent(value: float) -> str:
    """Write a fraction as percent: ``0.834`` is ``83.4``; a negative one, "none", is a dash."""
    return '\N{EN DASH}' if value < 0 else f'{100 * value:.1f}'


def counted(number: float, noun: str) -> str:
    """Write a number and its noun: ``1 class``, ``3 categories``, ``1,003 objects``."""
    if number == 1:
        return f'1 {noun}'
    if noun.endswith('y') and noun[-2:-1] not in 'aeiou':
        plural = f'{noun[:-1]}ies'
    else:
        plural = noun + ('es' if noun.endswith(('s', 'x', 'sh', 'tch', 'nch')) else 's')
    return f'{number:,} {plural}'


def listed(things: Iterable[object], limit: int = _LISTED) -> str:
    """Write the first things of a list and the number of the others: ``a, b, c and 4 more``."""
    names = [printable(str(thing)) for thing in things]
    more = len(names) - limit
    return ', '.join(names[:limit]) + (f' and {more:,} more' if more > 0 else '')


def such_as(names: Collection[object], noun: str = 'tensor', limit: int = _LISTED) -> str:
    """Write how many there are and the first of them: ``5 tensors (a, b, c and 2 more)``."""
    return f'{counted(len(names), noun)} ({listed(names, limit)})'


def is_printable(text: str) -> bool:
    """Tell whether a text is one line that a terminal and a file can take."""
    return not any(unicodedata.category(character) in _UNPRINTABLE for character in text)


def printable(text: str) -> str:
    """Write control characters and line ends as escapes: ``a\\nb`` for two lines."""
    if is_printable(text):
        return text
    return ''.join(c if is_printable(c) else c.encode('unicode_escape').decode() for c in text)
