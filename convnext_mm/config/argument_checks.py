"""Check that every class that a config names exists and takes the arguments it is given.

Nothing is built: a class is looked up, and its arguments are read from its signature. So the check
also finds a mistake in a part that would be built late, such as a hook or a test pipeline.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, DefaultScope

from convnext_mm.config.places import FREE, OTHERS, PLACES, Place
from convnext_mm.config.signatures import Arguments, arguments_of
from convnext_mm.messages.findings import Finding, error
from convnext_mm.messages.wording import counted, listed, misspelt, nearest, printable

_LISTED = 8  # arguments in a message
_SHORT = 60  # letters of a value in a message
# How alike a name must be to a known one, from 0 to 1: for a suggestion; to be a misspelt argument
# of a class that takes any argument; to be a misspelt 'type'.
_ALIKE, _ALMOST, _ALIKE_TYPE = 0.6, 0.85, 0.7
# The dicts that the classes of a config read key by key. Other dicts without a type may be the
# arguments of classes that no config names.
_FREE_DICTS = re.compile(
    r'model\..*(train|test|tta)_cfg\b|_dataloader\..*(data_prefix|filter_cfg)\b'
)
_FOREIGN = ('Albu',)  # The dicts in their arguments are built by another library.


def check_arguments(cfg: Config, parts: Collection[str] = tuple(PLACES)) -> Iterator[Finding]:
    """Check the types and the arguments of all dicts that a config builds.

    Args:
        cfg: A config. Variables at its top level that nothing builds are not checked.
        parts: The settings to check, by top-level key.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        findings = [finding for part in parts for finding in _check_part(cfg, part)]
        if 'optim_wrapper' in parts:
            findings += _check_constructor(cfg.get('optim_wrapper'))
    yield from findings


@dataclass(frozen=True)
class _Seen:
    """The classes and free dicts that the check has met in a part of a config.

    Attributes:
        classes: The classes that it builds.
        free: The dicts without a type, by dotted key, that only these classes read.
    """

    classes: list[Callable] = field(default_factory=list)
    free: dict[str, Mapping] = field(default_factory=dict)


def _check_part(cfg: Config, part: str) -> Iterator[Finding]:
    seen = _Seen()
    yield from _check(cfg.get(part), part, PLACES[part], (), seen)
    for path, node in seen.free.items():
        yield from _check_free(node, path, seen.classes)


def _check(
    node: object, path: str, place: Place, parents: tuple[Callable, ...], seen: _Seen
) -> Iterator[Finding]:
    """Check a node and all below it.

    Args:
        node: A part of the config.
        path: Its dotted key.
        place: Its place.
        parents: The classes of the dicts around it.
        seen: Gets the classes and free dicts of the node.
    """
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _check(child, f'{path}.{index}', place, parents, seen)
    if not isinstance(node, Mapping):
        return
    with DefaultScope.overwrite_default_scope(node.get('_scope_')):
        targets = _targets(node, place)
        yield from _check_dict(node, path, place, targets, parents)
        if node.get('type') in _FOREIGN:
            return
        parents = (*parents, *(targets or ()))
        seen.classes.extend(targets or ())
        if targets is None and _FREE_DICTS.search(path):
            seen.free[path] = node
        for key, child in node.items():
            below = place.children.get(key, place.children.get(OTHERS, FREE))
            if below is not None:
                yield from _check(child, f'{path}.{key}', below, parents, seen)


def _check_free(node: Mapping, path: str, classes: Collection[Callable]) -> Iterator[Finding]:
    """Check the keys of a dict without a type.

    A key is a mistake if no class has this word in its source, but one has nearly the same word.
    """
    words: set[str] = set()
    for key in node:
        if not words:
            words = set().union(*(_words(source) for c in classes for source in _sources(c)))
        other = misspelt(key, words) if isinstance(key, str) and key not in words else ''
        if other:
            yield error(f'{path}.{key}', f'nothing reads {key!r}{_did_you_mean(other)}'.rstrip('.'))


def _targets(node: Mapping, place: Place) -> list[Callable] | None:
    """Return the classes that may be built from a dict, or None if they are not known."""
    if place.function:
        return [place.function]
    kind = node.get('type') or place.default(node)
    if kind is None or not (place.registries or place.module):
        return None
    return _look_up(kind, place)


def _check_dict(
    node: Mapping,
    path: str,
    place: Place,
    targets: list[Callable] | None,
    parents: tuple[Callable, ...],
) -> Iterator[Finding]:
    kind = node.get('type') or place.default(node)
    if place.keys:
        yield from _check_keys(node, path, Arguments(place.keys, ()), path, ())
    elif place.likely:
        yield from _check_likely(node, path, place.likely)
    elif targets:
        found = [[*_check_class(node, path, target, place, parents)] for target in targets]
        yield from min(found, key=len)
    elif targets is not None:
        if place.certain and not _is_read_by(parents, kind):
            yield _unknown_type(kind, f'{path}.type', place)
    elif kind is None and (place.registries or place.module):
        yield from _check_missing_type(node, path, place)


def _check_likely(node: Mapping, path: str, likely: Collection[str]) -> Iterator[Finding]:
    for key in node:
        other = '' if key in likely else misspelt(key, likely)
        if other:
            yield error(f'{path}.{key}', f'there is no {key!r}: did you mean {other}?')


def _check_class(
    node: Mapping, path: str, target: Callable, place: Place, parents: tuple[Callable, ...]
) -> Iterator[Finding]:
    found = _with_inner(arguments_of(target), node, place)
    names = [n for n in (*found.names, *place.extra) if n not in place.given or n in node]
    taken = replace(found, names=tuple(names))
    name = path if place.function else getattr(target, '__name__', str(target))
    yield from _check_keys(node, path, taken, name, parents)
    missing = [n for n in taken.required if n not in node and n not in place.given]
    if place.complete and missing:
        yield error(path, f'{name} needs {counted(len(missing), "argument")}: {listed(missing)}')


def _with_inner(taken: Arguments, node: Mapping, place: Place) -> Arguments:
    """Add the arguments of a class that another one builds from its ``**kwargs``.

    An argument names that class: ``RandomResize(resize_type='Resize', **resize_kwargs)``.
    """
    inner = [name for name in taken.names if name.endswith('_type')] if taken.any else []
    if len(inner) != 1:
        return taken
    kind = node.get(inner[0], taken.defaults.get(inner[0]))
    targets = _look_up(kind, place) if isinstance(kind, str) else None
    if not targets:
        return taken
    found = arguments_of(targets[0])
    return replace(taken, names=(*taken.names, *found.names), any=found.any)


def _check_keys(
    node: Mapping, path: str, taken: Arguments, reader: str, parents: tuple[Callable, ...]
) -> Iterator[Finding]:
    for key in node:
        if key in taken.names or key in ('type', '_scope_') or _is_read_by(parents, key):
            continue
        other = nearest(str(key), taken.names, _ALMOST if taken.any else _ALIKE)
        if taken.any and not other:
            continue
        yield error(
            f'{path}.{key}',
            f'{reader} has no argument {key!r} (here {_short(node[key])})'
            f'{_did_you_mean(other)} It has {listed(taken.names, _LISTED)}',
        )


def _is_read_by(parents: tuple[Callable, ...], word: str) -> bool:
    """Return whether the source of a class around a dict has a word in quotes.

    A class may take keys out of the dicts of its parts before it builds them, or give a type a
    meaning of its own.
    """
    return any(
        f"'{word}'" in source or f'"{word}"' in source
        for parent in parents
        for source in _sources(parent)
    )


@cache
def _sources(target: Callable) -> tuple[str, ...]:
    """Return the source of the modules of a class and its base classes."""
    modules = {kind.__module__ for kind in getattr(target, '__mro__', ())}
    return tuple(
        _source(name)
        for name in modules
        if name.partition('.')[0] not in ('builtins', 'torch', 'abc', 'typing')
    )


@cache
def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError):
        return ''


@cache
def _words(source: str) -> frozenset[str]:
    return frozenset(re.findall(r'[A-Za-z_]\w+', source))


def _check_missing_type(node: Mapping, path: str, place: Place) -> Iterator[Finding]:
    texts = [key for key, value in node.items() if isinstance(value, str)]
    other = nearest('type', texts, _ALIKE_TYPE)
    if place.typed or (other and _look_up(node[other], place)):
        meant = f'; is {other}={node[other]!r} meant?' if other else ''
        yield error(path, f'there is no type in {_short(node)}{meant}')


def _did_you_mean(name: str) -> str:
    return f'; did you mean {name}?' if name else '.'


def _look_up(kind: object, place: Place) -> list[Callable] | None:
    """Return the classes that a type may name.

    There are several if registries have the same name for different classes, and none if the type
    is unknown. The result is None if a module of a library cannot be imported, so that the classes
    are not known.
    """
    if not isinstance(kind, str):
        return [kind]
    if place.module:
        found = getattr(importlib.import_module(place.module), kind, None)
        return [] if found is None else [found]
    targets = []
    for registry in place.registries:
        with registry.switch_scope_and_registry(None) as scoped:
            try:
                targets.append(scoped.get(kind))
            except RuntimeError as failure:
                if not str(failure).startswith('Failed to get'):  # MMEngine's "unknown"
                    return None
            except Exception:
                return None
    return [target for target in targets if target is not None]


def _unknown_type(kind: str, where: str, place: Place) -> Finding:
    prefix, _, name = kind.rpartition('.')
    package = prefix.partition('.')[0]
    if package and package not in sys.modules and importlib.util.find_spec(package) is None:
        scopes = [scope for registry in place.registries for scope in registry.root.children]
        other = nearest(package, [*scopes, 'convnext_mm'])
        meant = _did_you_mean(other and f'{other}.{name}')
        return error(where, f'{kind!r}: there is no package {package}{meant.rstrip(".")}')
    names, keeper = _names(place, prefix)
    other = nearest(name, names)
    meant = _did_you_mean(other and f'{prefix}.{other}'.lstrip('.'))
    return error(where, f'{kind!r} is not in {keeper}{meant.rstrip(".")}')


def _names(place: Place, prefix: str) -> tuple[list[str], str]:
    """Return the names of the known types, and the registry or module that has them."""
    if place.module:
        return dir(sys.modules[place.module]), place.module
    names = dir(sys.modules[prefix]) if prefix in sys.modules else []
    keepers = []
    for registry in place.registries:
        with registry.switch_scope_and_registry(None) as scoped:
            scoped = registry.root.children.get(prefix, scoped)
            keepers.append(f'{scoped.scope}::{scoped.name}')
            while scoped is not None:
                names += scoped.module_dict
                scoped = scoped.parent
    return names, f'the registry {" or ".join(keepers)}'


def _check_constructor(wrapper: object) -> Iterator[Finding]:
    """Check the constructor of an optimizer wrapper, and the keys of its ``paramwise_cfg``.

    A constructor reads the keys from a dict and ignores others. So the known keys are the words in
    quotes in its source.
    """
    if not isinstance(wrapper, Mapping):
        return
    kind = wrapper.get('constructor', 'DefaultOptimWrapperConstructor')
    place = Place((OPTIM_WRAPPER_CONSTRUCTORS,))
    targets = _look_up(kind, place)
    if targets == []:
        yield _unknown_type(kind, 'optim_wrapper.constructor', place)
    for target in targets or ():
        for key in wrapper.get('paramwise_cfg') or ():
            if not _is_read_by((target,), key):
                words = re.findall(r"""['"](\w+)['"]""", '\n'.join(_sources(target)))
                yield error(
                    f'optim_wrapper.paramwise_cfg.{key}',
                    f'{target.__name__} reads no {key!r}{_did_you_mean(nearest(key, words))}',
                    'if a base config has it, replace the whole dict: '
                    'paramwise_cfg=dict(_delete_=True, ...)',
                )


def _short(value: object) -> str:
    return printable(repr(value), _SHORT)
