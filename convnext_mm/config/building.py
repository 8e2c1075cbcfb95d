"""Name the part of a config in whose constructor a run failed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmengine.config import Config

from convnext_mm.config.nodes import dicts_by_path
from convnext_mm.config.places import PLACES
from convnext_mm.errors import ConfigError, UserError


@contextmanager
def naming_the_part(cfg: Config) -> Iterator[None]:
    """Turn an exception of a constructor into one that names its dict in the config.

    Exceptions from anywhere else pass: they may be mistakes of this package.

    Raises:
        ConfigError: An exception was raised while a dict of the config was built.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as failure:
        path = _path_of_failure(cfg, failure)
        if not path:
            raise
        text = ' '.join(str(failure).split())
        raise ConfigError(f'{path} cannot be built: {type(failure).__name__}: {text}') from failure


def _path_of_failure(cfg: Config, failure: Exception) -> str:
    """Return the dotted key of the innermost dict that was being built; empty if none was."""
    frames = [frame for frame, _ in traceback.walk_tb(failure.__traceback__)]
    built = [f.f_locals['cfg'] for f in frames if f.f_code.co_name == 'build_from_cfg']
    return next(filter(None, (_find(cfg, node) for node in reversed(built))), '')


def _find(cfg: Config, wanted: Mapping) -> str:
    """Return the dotted key of a dict in a config, which may have got further arguments since."""
    found = (
        path
        for key in PLACES
        for path, node in dicts_by_path(cfg.get(key), key)
        if node.get('type') == wanted.get('type')
        and all(wanted.get(name) == value for name, value in node.items() if _is_plain(value))
    )
    return next(found, '')


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float, bool, type(None)))
