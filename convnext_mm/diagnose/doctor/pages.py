"""The page of the documentation that explains a finding of the doctor."""

from __future__ import annotations

_TROUBLE = 'docs/troubleshooting.md'
# The place of a finding -> its page. Other findings have the page of their section.
_OF_PLACE = {
    'GPU': 'docs/getting_started.md#install',
    'disk': 'docs/getting_started.md#install',
    'data': f'{_TROUBLE}#training',
    'weights': 'docs/weights.md',
    'checkpoint': f'{_TROUBLE}#weights',
    'channels': f'{_TROUBLE}#your-own-config',
    'classes': f'{_TROUBLE}#your-own-data',
    'learning rates': 'docs/recipes.md#layer-decay',
    'batch size': 'docs/recipes.md#fewer-gpus-than-the-recipe',
    'workers': f'{_TROUBLE}#training',
    'checkpoints': 'docs/reliability.md#what-happens-when',
}
_OF_SECTION = {
    'installation': f'{_TROUBLE}#installation',
    'training step': f'{_TROUBLE}#installation',
    'config': f'{_TROUBLE}#mistakes-in-a-command-or-a-config',
}
PAGES = {*_OF_PLACE.values(), *_OF_SECTION.values()}


def page_of(section: str, where: str) -> str:
    """Return the page, with its heading, for a finding.

    Args:
        section: ``installation``, ``training step`` or ``config``.
        where: The place of the finding.
    """
    return _OF_PLACE.get(where, _OF_SECTION[section])
