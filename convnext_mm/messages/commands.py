"""The name of a command in messages: as the person who reads it can call it."""

from __future__ import annotations

import sys
from pathlib import Path

# Scripts with another name than their command.
_OTHER_NAMES = {
    'stats': 'model_stats',
    'weights inspect': 'inspect_weights',
    'weights convert': 'convert_weights',
}


def command(name: str) -> str:
    """Return ``convnext-mm NAME``, or ``tools/NAME.py`` if a script of a checkout runs now."""
    script = f'{_OTHER_NAMES.get(name, name.replace("-", "_"))}.py'
    if runs_script() and Path(sys.modules['__main__'].__file__).with_name(script).is_file():
        return f'tools/{script}'
    return f'convnext-mm {name}'


def runs_script() -> bool:
    """Return whether this process runs a script of this package in a folder ``tools``."""
    started = sys.modules['__main__']
    ours = getattr(getattr(started, 'main', None), '__module__', '').startswith('convnext_mm.cli')
    return ours and Path(started.__file__).parent.name == 'tools'
