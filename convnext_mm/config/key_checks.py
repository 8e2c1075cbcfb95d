"""Check the names at the top level of a config.

A config file may define variables beside its settings, such as ``data_root``. So a name that
nothing reads is a mistake only if it looks like a setting.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache

from mmengine.config import Config
from mmengine.runner import Runner

from convnext_mm.messages.findings import Finding, error, note
from convnext_mm.messages.wording import misspelt, nearest

# Settings that are not arguments of the Runner, and who reads them.
_ALSO_READ = (
    *('runner_type', 'strategy', 'sync_bn', 'find_unused_parameters'),  # Runner
    *('model_wrapper_cfg', 'efficient_conv_bn_eval', 'activation_checkpointing'),
    *('compile', 'custom_imports'),
    *('tta_model', 'tta_pipeline'),  # test.py
    'published',  # this package
)


@cache
def known_settings() -> tuple[str, ...]:
    """Return the names that MMEngine, MMDetection, MMSegmentation or this package read."""
    arguments = inspect.signature(Runner).parameters
    return (*(name for name in arguments if name != 'cfg'), *_ALSO_READ)


def check_options(cfg: Config, options: Mapping[str, object]) -> Iterator[Finding]:
    """Check that each option for a config names a setting, before it overrides the config.

    Args:
        cfg: The config without the options.
        options: New values by dotted key.
    """
    for key in options:
        top = str(key).partition('.')[0]
        if top in cfg or top in known_settings():
            continue
        other = nearest(top, [*cfg, *known_settings()])
        meant = f': did you mean {other}{key[len(top) :]}?' if other else ''
        yield error(key, f'neither the config nor MMEngine has a setting {top!r}{meant}')


def check_variables(options: Mapping[str, object]) -> Iterator[Finding]:
    """Note the options that set a variable of the config file, which changes nothing."""
    for key in options:
        top = str(key).partition('.')[0]
        if top not in known_settings():
            yield note(
                key,
                'this is a variable of the config file, which was read already, so the option '
                'changes nothing. Set the settings that the file makes from it',
            )


def check_names(cfg: Config) -> Iterator[Finding]:
    """Check that no variable of a config is a misspelt setting."""
    for name in cfg:
        if name not in known_settings():
            other = misspelt(name, known_settings())
            if other:
                yield error(name, f'there is no setting {name!r}: did you mean {other}?')
