"""The name of a command in messages: as the person who reads it can call it."""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parents[2] / 'tools'  # exists in a checkout
# Scripts with another name than their command.
_OTHER_NAMES = {
    'stats': 'model_stats',
    'weights inspect': 'inspect_weights',
    'weights convert': 'convert_weights',
}


def command(name: str) -> str:
    """Return ``convnext-mm NAME``, or ``tools/NAME.py`` if a script of a checkout runs now."""
    script = _SCRIPTS / f'{_OTHER_NAMES.get(name, name.replace("-", "_"))}.py'
    if runs_script() and script.is_file():
        return f'tools/{script.name}'
    return f'convnext-mm {name}'


def runs_script() -> bool:
    """Return whether this process runs a script of the folder ``tools`` of a checkout."""
    return Path(sys.argv[0]).resolve().parent == _SCRIPTS
