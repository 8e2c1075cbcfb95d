"""The command ``convnext-mm``: find the command that is named, and run it."""

from __future__ import annotations

import difflib
import importlib
import sys

from convnext_mm import __version__

# The groups of commands, each command with its module in this folder. The first line of the
# docstring of the module describes the command.
COMMANDS = {
    'Train, test, predict': {
        'train': 'train',
        'test': 'test',
        'predict': 'predict',
        'export': 'export',
        'report': 'report',
        'launch': 'launch',
        'demo': 'demo',
        'roadmap': 'roadmap',
    },
    'Look before you train': {
        'doctor': 'doctor',
        'recommend': 'recommend',
        'check-data': 'check_data',
        'browse': 'browse',
        'lr-table': 'lr_table',
        'stats': 'model_stats',
    },
    'Recipes, weights, data': {
        'configs': 'configs',
        'weights inspect': 'inspect_weights',
        'weights convert': 'convert_weights',
        'convert-data': 'convert_data',
        'prepare-coco': 'prepare_coco',
        'prepare-ade20k': 'prepare_ade20k',
    },
}
MODULES = {name: module for group in COMMANDS.values() for name, module in group.items()}


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ('-h', '--help'):
        print(overview())
        return 0
    if arguments[0] == '--version':
        print(f'convnext-mm {__version__}')
        return 0
    for words in (2, 1):
        name = ' '.join(arguments[:words])
        if name in MODULES:
            sys.argv[0] = f'convnext-mm {name}'  # argparse writes it into usage and errors
            return load(name).main(arguments[words:])
    print(f'error: {_unknown(arguments[0])}', file=sys.stderr)
    return 2


def load(name: str):
    """Import the module of a command."""
    return importlib.import_module(f'convnext_mm.cli.{MODULES[name]}')


def overview() -> str:
    """Return the list of all commands."""
    lines = ['usage: convnext-mm COMMAND ...', '']
    for title, commands in COMMANDS.items():
        lines.append(f'{title}:')
        for name in commands:
            lines.append(f'  {name:16} {load(name).__doc__.partition(chr(10))[0]}')
        lines.append('')
    lines.append('convnext-mm COMMAND --help lists the arguments of a command.')
    return '\n'.join(lines)


def _unknown(word: str) -> str:
    longer = [name for name in MODULES if name.startswith(f'{word} ')]
    if longer:
        return f'{word} needs a second word: {" or ".join(longer)}'
    near = difflib.get_close_matches(word, MODULES, n=1)
    remedy = f'did you mean {near[0]}? ' if near else ''
    return f'convnext-mm has no command {word!r}; {remedy}(convnext-mm --help lists all)'
