"""Write numbers, plurals and long lists the same way in every message and in the report."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable
from difflib import SequenceMatcher, get_close_matches

_LISTED = 3
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2
_LONG = 14  # letters of a name in which two may be wrong; one in a shorter name


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
    names = [str(thing) for thing in things]
    more = len(names) - limit
    return ', '.join(names[:limit]) + (f' and {more:,} more' if more > 0 else '')


def such_as(names: Collection[object], noun: str = 'tensor', limit: int = _LISTED) -> str:
    """Write how many there are and the first of them: ``5 tensors (a, b, c and 2 more)``."""
    return f'{counted(len(names), noun)} ({listed(names, limit)})'


def shown(value: object) -> str:
    """Write a value from a file of the user in one short line, without control characters."""
    words = {None: 'null', True: 'true', False: 'false'}
    return words[value] if value is None or isinstance(value, bool) else _SHORT.repr(value)


def first_line(error: BaseException) -> str:
    """Write the type and the first line of an error of another package."""
    return f'{type(error).__name__}: {str(error).strip()}'.partition('\n')[0]


def printable(text: str, limit: int = 300) -> str:
    """Cut a long text, and escape the characters that a terminal does not show, as in ``\\x1b``."""
    text = text if len(text) <= limit else f'{text[:limit]} ...'
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """Escape the control characters of a text but keep its lines, for a terminal."""
    return '\n'.join(printable(line, len(line)) for line in text.split('\n'))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the known name that is most like a name, without regard to case; empty if none is."""
    by_lower = {other.lower(): other for other in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else ''


def misspelt(name: str, known: Iterable[str]) -> str:
    """Return the known name that a name has with a letter or two wrong; empty if there is none.

    A name that adds to a known one is not misspelt: ``train_dataloder`` is a misspelt
    ``train_dataloader``, but ``val_evaluator_2`` and ``models`` are names of their own.
    """
    other = nearest(name, known)
    if not other or name.startswith(other):
        return ''
    same = sum(block.size for block in SequenceMatcher(None, name, other).get_matching_blocks())
    length = max(len(name), len(other))
    return other if length - same <= (2 if length >= _LONG else 1) else ''
