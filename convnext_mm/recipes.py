"""The recipes: the configs of this package, by short names such as ``cascade/convnext_t_coco``."""

from __future__ import annotations

import difflib
from pathlib import Path

from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command

# MMEngine looks for the configs of a package there. In a checkout it is a link to configs/.
FOLDER = Path(__file__).parent / '.mim' / 'configs'
PREFIX = 'convnext_mm::'


def recipe_names() -> list[str]:
    """Return the short names of all recipes."""
    paths = (path.relative_to(FOLDER).with_suffix('') for path in FOLDER.glob('[!_]*/*.py'))
    return sorted(path.as_posix() for path in paths)


def recipe(name: str) -> str:
    """Return the path of a recipe.

    In a config of MMDetection's own tools, ``_base_ = __import__('convnext_mm').recipe(NAME)``
    inherits from it.

    Args:
        name: ``cascade/convnext_t_coco``, with or without ``.py``, ``configs/`` or
            ``convnext_mm::``; or a base of recipes, such as ``_base_/mask_rcnn.py``.

    Raises:
        UserError: There is no such recipe. The message names the nearest one.
    """
    short = name.removeprefix(PREFIX).removeprefix('configs/').removesuffix('.py')
    path = FOLDER / f'{short}.py'
    if path.is_file():
        return str(path)
    near = difflib.get_close_matches(short, recipe_names(), n=1, cutoff=0.7)
    if not near and Path(name).suffix:
        raise UserError(f'{name}: no such file')
    meant = f'did you mean {near[0]}? ' if near else ''
    raise UserError(
        f'{name}: no such file, and no recipe has this name; {meant}'
        f'{command("configs list")} lists the recipes'
    )
