"""The arguments that a class takes, also through the ``**kwargs`` of its constructor.

Many classes of OpenMMLab hand unknown arguments to their base class:
``def __init__(self, a, **kwargs): super().__init__(**kwargs)``. So such a class takes the
arguments of all constructors in this chain. The source of a constructor shows where it passes its
``kwargs``. If it uses them in another way, the class counts as one that takes any argument.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from torch import nn

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a class or function.

    Attributes:
        names: Their names, first of the class itself, then of its base classes.
        required: The names without a default.
        any: Whether it may take other arguments too.
        defaults: The defaults of the other arguments; base classes are left out.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    any: bool = False
    defaults: Mapping[str, object] = field(default_factory=dict)


@cache
def arguments_of(target: Callable) -> Arguments:
    """Return the arguments of a class or function."""
    if not inspect.isclass(target):
        return _own_arguments(target)[0]
    names: dict[str, None] = {}
    first: Arguments | None = None
    kinds = list(target.__mro__)
    while kinds:
        kind = kinds.pop(0)
        if kind in (object, nn.Module):  # They refuse all arguments.
            break
        if '__init__' not in vars(kind):
            continue
        own, base = _own_arguments(vars(kind)['__init__'])
        names.update(dict.fromkeys(own.names))
        first = first or own
        if own.any or base is None:
            return replace(first, names=tuple(names), any=own.any)
        if base.name not in ('', kind.__name__):
            at = next((i for i, k in enumerate(kinds) if k.__name__ == base.name), 0)
            kinds = kinds[at + base.behind :]
    return replace(first or Arguments((), ()), names=tuple(names), any=False)


@dataclass(frozen=True)
class _Base:
    """The constructor that gets the other arguments.

    Attributes:
        name: The class in ``super(Class, self)`` or ``Class.__init__``; empty for ``super()``.
        behind: Whether it is the next base class after that class, and not that class itself.
    """

    name: str = ''
    behind: bool = True


def _own_arguments(function: Callable) -> tuple[Arguments, _Base | None]:
    """Return the arguments of one function, and the constructor that gets its other arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return Arguments((), (), any=True), None
    named = [p for p in parameters if p.kind in _NAMED and p.name != 'self']
    names = [p.name for p in named] + _old_names(function)
    defaults = {p.name: p.default for p in named if p.default is not p.empty}
    required = tuple(p.name for p in named if p.name not in defaults)
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    if rest is None:
        return Arguments(tuple(names), required, defaults=defaults), None
    read, base = _uses_of_kwargs(function, rest)
    return Arguments((*names, *read), required, base is None, defaults), base


def _old_names(function: Callable) -> list[str]:
    """Return the names that MMEngine's ``deprecated_api_warning`` replaces by new ones."""
    cells = getattr(function, '__closure__', None) if hasattr(function, '__wrapped__') else None
    tables = [cell.cell_contents for cell in cells or ()]
    return [str(name) for table in tables if isinstance(table, dict) for name in table]


def _uses_of_kwargs(function: Callable, kwargs: str) -> tuple[list[str], _Base | None]:
    """Find the use that a function makes of its ``**kwargs``.

    Returns:
        The names that it reads from them, and the constructor that gets the rest. It is None if
        they are used in another way, so that the function may take any argument.
    """

    def is_kwargs(node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == kwargs

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return [], None
    read: list[str] = []
    bases: list[_Base] = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr='__init__'), keywords=keywords):
                handed = [k for k in keywords if k.arg is None and is_kwargs(k.value)]
                bases += [_base(owner)] * len(handed)
            case ast.Call(
                func=ast.Attribute(value=value, attr='get' | 'pop' | 'setdefault'),
                args=[ast.Constant(str(name)), *_],
            ) if is_kwargs(value):
                read.append(name)
            case ast.Subscript(value=value, slice=ast.Constant(str(name))) if is_kwargs(value):
                read.append(name)
            case ast.Compare(left=ast.Constant(str(name)), comparators=[v]) if is_kwargs(v):
                read.append(name)
    uses = sum(is_kwargs(node) for node in ast.walk(tree))
    understood = uses == len(read) + len(bases)
    return read, bases[0] if bases and understood else None


def _base(owner: ast.expr) -> _Base:
    """Return which constructor ``owner.__init__`` is."""
    match owner:
        case ast.Call(func=ast.Name('super'), args=[ast.Name(name), *_]):
            return _Base(name)
        case ast.Name(name):
            return _Base(name, behind=False)
    return _Base()
