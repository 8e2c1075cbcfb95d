"""All checks in their order, as they are found."""

from __future__ import annotations

from rich.console import Console

from convnext_mm.config.reading import load_config
from convnext_mm.diagnose.doctor.findings import Level, show
from convnext_mm.diagnose.doctor.installation import check_installation, importable
from convnext_mm.diagnose.doctor.models import check_models
from convnext_mm.diagnose.doctor.recipe import check_recipe


def examine(
    console: Console,
    config: str | None = None,
    checkpoint: str | None = None,
    options: dict | None = None,
) -> bool:
    """Check installation, heads and, if one is given, a config; print what is found.

    Returns:
        Whether nothing is wrong.

    Raises:
        UserError: There is no such config.
    """
    cfg = load_config(config, options) if config else None
    found = show('Installation', check_installation(), console)
    if importable():
        found += show('A training step of each kind of heads', check_models(), console)
        if cfg is not None:
            found += show(config, check_recipe(cfg, checkpoint), console)
    else:
        console.print('\nHeads and configs are checked when these packages can be imported.')
    wrong = sum(finding.level is Level.WRONG for finding in found)
    notes = sum(finding.level is Level.NOTE for finding in found)
    console.print()
    if wrong:
        console.print(f'{_count(wrong, "thing")} to put right.', style='bold red')
    else:
        also = f', with {_count(notes, "note")}' if notes else ''
        console.print(f'All is well{also}.', style='bold green')
    return not wrong


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}{"s" if number != 1 else ""}'
