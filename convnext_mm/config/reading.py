"""Read a config, and find the folder of its runs."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path

from mmengine.config import Config

from convnext_mm.compat import apply_workarounds, import_mmpretrain
from convnext_mm.config.argument_checks import check_arguments
from convnext_mm.config.key_checks import check_names, check_options
from convnext_mm.config.nodes import is_classification, with_type_names
from convnext_mm.config.places import PLACES
from convnext_mm.config.value_checks import check_values
from convnext_mm.errors import ConfigError, UserError
from convnext_mm.messages.findings import raise_errors
from convnext_mm.recipes import recipe

_SUFFIXES = ('.py', '.json', '.yaml', '.yml')
_HEAD = 2**10  # Bytes; checkpoints have zeros in these.


def load_config(config: str | Path | Config, options: Mapping[str, object] | None = None) -> Config:
    """Read a config and override settings of it.

    Args:
        config: A file, the name of a recipe, a config of another package such as
            ``mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py``, or a config, which is copied.
        options: New values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        UserError: The file does not exist or is no config, or an option names no setting.
        ConfigError: The file cannot be run; the message names the file and the line.
    """
    apply_workarounds()
    cfg = copy.deepcopy(config) if isinstance(config, Config) else _read(_find(str(config)))
    cfg = with_type_names(cfg)
    if options:
        raise_errors(check_options(cfg, options))
        _override(cfg, options)
    return cfg


def load_checked_config(
    config: str | Path | Config,
    options: Mapping[str, object] | None = None,
    parts: Collection[str] = tuple(PLACES),
) -> Config:
    """Read a config, override settings, and check its names and numbers; build nothing.

    Args:
        config: As for :func:`load_config`.
        options: As for :func:`load_config`.
        parts: The top-level settings that will be used; others are not checked.

    Raises:
        UserError: As for :func:`load_config`, a setting, class or argument does not exist, or a
            number is wrong. The message has a line for each.
    """
    cfg = load_config(config, options)
    if is_classification(cfg):
        import_mmpretrain()
    raise_errors([*check_names(cfg), *check_arguments(cfg, parts), *check_values(cfg, parts)])
    return cfg


def _find(name: str) -> Path:
    """Return the file of a config: a path, a name like ``mmdet::...``, or the name of a recipe."""
    path = Path(name)
    if path.exists() or path.is_absolute():
        return path
    package = name.partition('::')[0] if '::' in name else ''
    if package in ('', 'convnext_mm'):
        return Path(recipe(name))
    try:
        return Path(Config._get_cfg_path(name, '')[0])
    except UserError:
        raise
    except Exception as failure:
        raise UserError(f'{name}: {package} has no such config: {failure}') from failure


def _read(path: Path) -> Config:
    if not path.is_file():
        raise UserError(f'{path}: {"is a folder" if path.is_dir() else "no such file"}')
    if _is_binary(path):
        raise UserError(
            f'{path} is no config: it is no text. Is it a checkpoint? The config comes first, then '
            'the checkpoint'
        )
    if path.suffix not in _SUFFIXES:
        raise UserError(f'{path}: the name of a config must end in {", ".join(_SUFFIXES)}')
    try:
        return Config.fromfile(path)
    except Exception as failure:
        raise ConfigError(_where_it_failed(path, failure)) from failure


def _is_binary(path: Path) -> bool:
    with path.open('rb') as file:
        return b'\0' in file.read(_HEAD)


def _where_it_failed(path: Path, failure: Exception) -> str:
    """Name the file and the line of a config, or of a base of it, that cannot be run."""
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, SyntaxError):
        cause = cause.__context__
    if isinstance(cause, SyntaxError) and cause.__context__ is not None:
        cause = cause.__context__  # MMEngine raises a SyntaxError without a line from the real one.
    name, line = str(path), ''
    for frame, number in traceback.walk_tb(failure.__traceback__):
        if frame.f_code.co_name in ('_file2dict', '_parse_lazy_import'):
            name, line = frame.f_locals['filename'], ''
        elif frame.f_code.co_filename == name:
            line = f', line {number}'
    if isinstance(cause, SyntaxError):
        return f'{name}, line {cause.lineno}: {cause.msg}'
    text = str(failure)
    if isinstance(failure, ImportError):
        text = str(failure.__cause__ or failure)  # MMEngine adds all of sys.path to it.
    text = ' '.join(text.split())
    kind = '' if isinstance(failure, UserError) else f'{type(failure).__name__}: '
    return f'{name}{line}: {kind}{text}'


def _override(cfg: Config, options: Mapping[str, object]) -> None:
    for key, value in options.items():
        try:
            cfg.merge_from_dict({key: copy.deepcopy(value)})
        except (KeyError, TypeError, AttributeError) as failure:
            raise UserError(f'{key}={value!r}: {_why_not(cfg, key)}') from failure


def _why_not(cfg: Config, key: str) -> str:
    """Say why a setting cannot be reached by a dotted key."""
    node, path = cfg, ''
    for part in key.split('.'):
        if isinstance(node, (list, tuple)):
            if not part.isdecimal() or int(part) >= len(node):
                return f'{path} is a list; after it comes a number from 0 to {len(node) - 1}'
            part = int(part)
        elif not isinstance(node, (dict, Config)):
            return f'{path} is {node!r}, which holds no further settings'
        elif part not in node:
            break
        node, path = node[part], f'{path}.{part}'.lstrip('.')
    return f'{path} cannot be replaced by a value of this kind'


def find_work_dir(cfg: Config, given: str | Path | None = None) -> Path:
    """Return the folder of the runs of a config.

    It is `given`, or else the ``work_dir`` of the config, or else ``work_dirs/<config name>``. A
    config that lies in the folder of a run belongs to that run.

    Raises:
        UserError: Nothing names the folder: the config was not read from a file. Or `given` is
            empty, as from a variable of a shell that is not set.
    """
    if given == '':
        raise UserError('the path of the work dir is empty')
    if given or cfg.get('work_dir'):
        return Path(given or cfg.work_dir)
    if not cfg.filename:
        raise UserError('the config comes from no file and has no work_dir: give a work_dir')
    folder = Path(cfg.filename).parent
    if (folder / 'last_checkpoint').is_file() or next(folder.glob('*/vis_data'), None):
        return folder
    return Path('work_dirs', Path(cfg.filename).stem)
