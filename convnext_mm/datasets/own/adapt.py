"""Adapt a recipe to the data of the user: ``tools/train.py CONFIG --data PATH``.

The data is checked and repaired in a copy. The config is changed wherever it names the data set or
its classes, and is written into the work dir as a plain config, which can be edited and run again:
``tools/train.py WORK_DIR/own_data.py``. The folder of the user stays unchanged.
"""

from __future__ import annotations

import copy
import os
import textwrap
from collections.abc import Collection
from pathlib import Path

from mmengine.config import Config
from rich.console import Console

from convnext_mm.config.nodes import is_classification, leaf_datasets
from convnext_mm.config.work_dir import OWN_DATA_CONFIG
from convnext_mm.datasets.own.adapt_config import adapt_config
from convnext_mm.datasets.own.check import CheckedData, check_own_data, show_checked
from convnext_mm.datasets.own.class_folders.adapt import adapt_classifier
from convnext_mm.datasets.own.class_folders.folders import (
    ClassFolders,
    check_class_folders,
)
from convnext_mm.datasets.own.write import write_atomically, write_data
from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command
from convnext_mm.messages.findings import as_text
from convnext_mm.messages.log import log_once
from convnext_mm.messages.wording import counted

# The folder in the work dir for repaired annotations, and splits that were made.
_FOLDER = 'own_data'
_LINE = 96  # characters of colours in a written config


def adapt_to_own_data(
    cfg: Config, path: str | Path, given: Collection[str] = (), *, accumulate: bool = False
) -> Config:
    """Return a config that trains on the data of the user, and write it into its work dir.

    In a distributed run every process does the same. The first process of each machine decodes
    the images and prints.

    Args:
        cfg: A config with a ``work_dir``; it is not changed.
        path: A folder, or a COCO JSON. For a classifier, a folder with a folder for each class.
        given: Dotted names of the settings that the user chose on the command line, which stay.
        accumulate: Whether the run accumulates batches up to the batch size of the recipe.

    Raises:
        UserError: The data has errors, which were printed, or does not suit the config.
    """
    first = _is_first_of_machine()
    console = Console(highlight=False, soft_wrap=True, markup=False, quiet=not first)
    classifies = is_classification(cfg)
    check = check_class_folders if classifies else check_own_data
    checked = check(path, console=console, decode=first)
    show_checked(checked, console)
    if checked.errors:
        raise UserError(_describe_errors(checked, path, first))
    cfg = copy.deepcopy(cfg)
    work_dir = Path(cfg.work_dir).resolve()
    folder, settings = work_dir / _FOLDER, dict(given=given, accumulate=accumulate)
    if classifies:
        found = adapt_classifier(cfg, checked, folder, **settings)
    else:
        found = adapt_config(cfg, write_data(checked, folder), **settings)
    changes = [*checked.notes, *found]
    for change in changes:
        log_once(change)
    if first:
        _write_config(cfg, work_dir / OWN_DATA_CONFIG, changes)
    return cfg


def _describe_errors(checked: CheckedData | ClassFolders, path: str | Path, printed: bool) -> str:
    kinds = f'{counted(len(checked.errors), "kind")} of error'
    if printed:
        return f'{path} has {kinds}, listed above; {command("check-data")} {path} lists them again'
    return f'{path} has {kinds}:\n{as_text(checked.errors)}'


def _write_config(cfg: Config, path: Path, changes: list[str]) -> None:
    """Write a config that inherits from none; keep an older one, which the user may have edited."""
    recipe = Path(cfg.filename or 'config.py').name
    header = [f'{recipe} for your own data. Changes:', *(f'  {change}' for change in changes)]
    header.append(f'To train again, edited or not:  {command("train")} {path}')
    # A line break in a path would end the comment.
    comments = (' '.join(line.splitlines()) for line in header)
    text = ''.join(f'# {line}\n' for line in comments) + _config_text(cfg)
    if path.is_file() and path.read_text(encoding='utf-8') != text:
        os.replace(path, path.with_suffix('.py.old'))
        log_once(f'{path} existed already and is now {path.name}.old')
    write_atomically(path, text)
    log_once(f'written, to edit and run again: {command("train")} {path}')


def _config_text(cfg: Config) -> str:
    """Write a config with the settings that its data sets share as variables at the top."""
    cfg = Config(cfg.to_dict())
    shared = {'data_root': None, 'metainfo': None}
    test_pipeline = cfg.pop('test_pipeline', None)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for dataset in leaf_datasets(cfg.get(loader)):
            for key in shared:
                shared[key], dataset[key] = dataset[key], f'<{key}>'
            if dataset.pipeline == test_pipeline:
                dataset.pipeline = '<test_pipeline>'
    classes, palette = shared['metainfo']['classes'], shared['metainfo']['palette']
    colours = textwrap.fill(', '.join(map(str, palette)), _LINE, break_long_words=False)
    top = [
        f'data_root = {shared["data_root"]!r}',
        *('classes = (', *(f'    {name!r},' for name in classes), ')'),
        *('palette = [', textwrap.indent(colours, '    '), ']'),
        'metainfo = dict(classes=classes, palette=palette)',
    ]
    if test_pipeline:
        top.append(Config(dict(test_pipeline=test_pipeline)).pretty_text)
    rest = cfg.pretty_text
    for key in (*shared, 'test_pipeline'):
        rest = rest.replace(f"'<{key}>'", key)
    return '\n'.join([*top, rest])


def _is_first_of_machine() -> bool:
    names = ('LOCAL_RANK', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK')
    return all(os.environ.get(name, '0') == '0' for name in names)
