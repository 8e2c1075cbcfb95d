"""List the recipes, show one, or copy one to edit it."""

from __future__ import annotations

import argparse
import ast
import os
from pathlib import Path

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.cli.options import Parser
from convnext_mm.errors import UserError
from convnext_mm.messages.commands import command
from convnext_mm.recipes import FOLDER, PREFIX, recipe, recipe_names


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description='The configs that come with this package.')
    actions = parser.add_subparsers(required=True, metavar='{list,show,copy}')
    one = actions.add_parser('list', help='list the names of all recipes')
    one.set_defaults(job=list_recipes)
    one = actions.add_parser('show', help='print a complete config, with the bases it inherits')
    one.add_argument('name', help='such as cascade/convnext_t_coco, or a file')
    one.set_defaults(job=show)
    one = actions.add_parser('copy', help='copy a recipe, to edit it')
    one.add_argument('name', help='such as cascade/convnext_t_coco')
    one.add_argument('to', nargs='?', type=Path, help='file to write (the same name, here)')
    one.set_defaults(job=copy)
    args = parser.parse_args(arguments)
    return exit_code(args.job, args)


def list_recipes(args: argparse.Namespace) -> None:
    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        first = Path(recipe(name)).read_text(encoding='utf-8').partition('\n')[0]
        print(f'{name:{width}}  {first.removeprefix("# ")}')


def show(args: argparse.Namespace) -> None:
    from convnext_mm.config.reading import load_config

    print(load_config(args.name).pretty_text)


def copy(args: argparse.Namespace) -> None:
    source = Path(recipe(args.name))
    target = args.to or Path(source.name)
    if target.is_dir():
        target = target / source.name
    text = with_absolute_bases(source)
    name = source.relative_to(FOLDER)
    text = text.replace(f'tools/train.py configs/{name}', f'{command("train")} {target}')
    try:
        with open(target, 'x', encoding='utf-8') as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f'{target} exists already; give another name') from None
    print(f'written: {target}')


def with_absolute_bases(path: Path) -> str:
    """Return the text of a recipe with bases that are found from any folder."""
    text = path.read_text(encoding='utf-8')
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            for base in ast.walk(node.value):
                if isinstance(base, ast.Constant) and '::' not in base.value:
                    full = Path(os.path.normpath(path.parent / base.value)).relative_to(FOLDER)
                    text = text.replace(repr(base.value), repr(f'{PREFIX}{full.as_posix()}'), 1)
    return text
