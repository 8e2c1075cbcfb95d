"""Register the classes of this package with MMEngine, but import no torch before MMEngine.

A config with ``type='ConvNeXt'`` needs the registration, and so does a process that only imports
this package and then MMDetection. A command such as ``check-data`` needs neither torch nor
MMEngine, which take seconds to import. So the registration waits until MMEngine is imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

# These modules register a class when they are imported. They may be imported first, and then they
# import MMEngine and this module while they are incomplete. So none of them imports another one,
# and no module that they import may import MMEngine at its top.
MODULES = (
    *('convnext_mm.backbone', 'convnext_mm.roadmap.networks', 'convnext_mm.neck'),
    *('convnext_mm.optim', 'convnext_mm.weights.loading'),
)


def explain_missing(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Return the error for a missing module; for MMEngine it says how to install it."""
    if error.name != 'mmengine':
        return error
    # No requirement of the distribution, as it comes in two families that must not be mixed.
    return ModuleNotFoundError(
        'convnext_mm needs MMEngine and its family: pip install "convnext-mm[openmmlab]" '
        'or "convnext-mm[onedl]"',
        name=error.name,
    )


def register_with_mmengine() -> None:
    """Register now if MMEngine is imported already, or else as soon as it has been imported."""
    if 'mmengine' in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _WaitForMMEngine())


def _register() -> None:
    from convnext_mm.compat import allow_mmengine_checkpoints, find_recipes

    for module in MODULES:
        importlib.import_module(module)
    # Also registrations: of types that torch.load may read, and of bases that configs may name.
    allow_mmengine_checkpoints()
    find_recipes()


class _WaitForMMEngine(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != 'mmengine':
            return None
        sys.meta_path.remove(self)  # the other finders find it
        try:
            spec = find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self._then_register(spec.loader.exec_module)
        return spec

    def _then_register(self, execute: Callable[[ModuleType], None]) -> Callable:
        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        return exec_module
