"""How the report writes a number."""

from __future__ import annotations


def percent(value: float) -> str:
    """A share as a number of percent; a dash for what does not exist."""
    return '\N{EN DASH}' if value < 0 else f'{100 * value:.1f}'


def counted(number: float, noun: str) -> str:
    """``1 class``, ``1,003 objects``."""
    plural = 'es' if noun.endswith('s') else 's'
    return f'{number:,} {noun}{"" if number == 1 else plural}'
