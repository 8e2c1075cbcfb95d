"""Run all checks in their order, and print their findings or return them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmengine.config import Config
from rich.console import Console
from rich.text import Text

from convnext_mm.config.reading import load_config
from convnext_mm.diagnose.doctor.guard import failed, guarded
from convnext_mm.diagnose.doctor.installation import (
    INSTALL,
    LIBRARIES,
    can_import,
    check_installation,
)
from convnext_mm.diagnose.doctor.pages import page_of
from convnext_mm.diagnose.doctor.training_step import check_training_steps
from convnext_mm.diagnose.recipe_checks import CHECKS, TRAINING_CHECKS, check_trained_model
from convnext_mm.errors import ConfigError
from convnext_mm.messages.findings import Finding, Level, error, show
from convnext_mm.messages.wording import counted

# Models and configs are checked with these.
_CHECKED_WITH = ('mmengine', 'mmcv')
_TITLES = {
    'installation': 'Installation',
    'training step': 'One training step of each kind of model',
}


def examine(
    console: Console,
    config: str | None = None,
    checkpoint: str | None = None,
    options: dict | None = None,
) -> bool:
    """Check the installation and, if one is given, a config; print the findings.

    Args:
        console: The console to print to.
        config: A config file.
        checkpoint: A trained model of the config.
        options: Config settings to override, by dotted key.

    Returns:
        Whether there is no error.

    Raises:
        UserError: The config file does not exist, or an option names no setting.
    """
    titles = dict(_TITLES, config=config)
    levels = []
    for section, found in examined(config, checkpoint, options):
        console.print(Text(f'\n{titles[section]}', 'bold'))
        levels += [finding.level for finding in show(found, console)]
    if not can_import(*_CHECKED_WITH):
        console.print('\nModels and configs are not checked: they need the packages above.')
    errors, notes = levels.count(Level.ERROR), levels.count(Level.NOTE)
    console.print()
    if errors:
        console.print(f'{counted(errors, "error")} to fix.', style='bold red')
    else:
        also = f', with {counted(notes, "note")}' if notes else ''
        console.print(f'All is well{also}.', style='bold green')
    return not errors


def examined(
    config: str | None = None, checkpoint: str | None = None, options: dict | None = None
) -> Iterator[tuple[str, Iterator[Finding]]]:
    """Yield the name of each part of the examination and its findings, each with its page.

    Args:
        config, checkpoint, options: As for :func:`examine`.

    Raises:
        UserError: The config file does not exist, or an option names no setting.
    """
    recipe: Iterable[Finding] = ()
    try:
        if config:
            recipe = check_recipe(load_config(config, options), checkpoint)
    except ConfigError as failure:  # such as an `mmdet::` base without MMDetection
        recipe = [failed('config', failure)]
    yield 'installation', _with_pages('installation', check_installation())
    if can_import(*_CHECKED_WITH):
        yield 'training step', _with_pages('training step', check_training_steps())
        if config:
            yield 'config', _with_pages('config', recipe)


def check_recipe(cfg: Config, checkpoint: str | None = None) -> Iterator[Finding]:
    """Run all checks that a config allows without training; nothing is downloaded.

    Args:
        cfg: A detection or segmentation config. It is not changed.
        checkpoint: A trained model of the config.
    """
    cfg = copy.deepcopy(cfg)
    library = cfg.get('default_scope')
    if library in LIBRARIES and not can_import(library):
        yield error('config', f'needs {library}, which cannot be imported', INSTALL)
        return
    if 'model' not in cfg:
        yield error('config', 'has no model')
        return
    for where, check in CHECKS.items():
        yield from guarded(where, check, cfg)
    if cfg.get('train_dataloader') and cfg.get('optim_wrapper'):
        for where, check in TRAINING_CHECKS.items():
            yield from guarded(where, check, cfg)
    if checkpoint:
        yield from guarded('checkpoint', check_trained_model, cfg, checkpoint)


def _with_pages(section: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    for finding in findings:
        yield replace(finding, page=page_of(section, finding.where))
