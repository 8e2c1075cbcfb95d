"""Arrows between the rooms of the package point down the list, and the core knows no framework."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import convnext_mm
from convnext_mm import registration

PACKAGE = Path(convnext_mm.__file__).parent
# A room may import the rooms above it. docs/architecture.md says what each of them holds.
CORE = (
    *(
        'errors',
        'messages',
        'recipes',
        'compat',
        'archs',
        'layer_decay',
        'layers',
        'ops',
        'weights',
    ),
    *('stages', 'backbone', 'neck', 'optim', 'roadmap', 'registration'),
)
ROOMS = (
    *CORE,
    *('config', 'visualization', 'datasets', 'evaluation', 'inference', 'diagnose', 'export'),
    *('engine', 'experiments', 'cli', '__main__'),
)
FRAMEWORKS = ('mmdet', 'mmseg', 'mmpretrain')
MODULES = {
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts).removesuffix('.__init__'): path
    for path in PACKAGE.rglob('*.py')
}


def imports(path):
    """Yield the full names that a module imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute'
            for alias in node.names:
                full = f'{node.module}.{alias.name}'
                yield full if full in MODULES else node.module


def room(module):
    return module.split('.')[1] if '.' in module else '__init__'


def test_every_room_is_in_the_list():
    assert {room(module) for module in MODULES} == {*ROOMS, '__init__'}


@pytest.mark.parametrize('module', sorted(MODULES))
def test_a_module_imports_only_from_rooms_above_its_own(module):
    if module == 'convnext_mm':
        return
    own = ROOMS.index(room(module))
    for name in imports(MODULES[module]):
        if name in MODULES and name != 'convnext_mm':
            assert ROOMS.index(room(name)) <= own, f'{module} imports {name}, which is below it'


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        module: {name for name in imports(path) if name in MODULES and name != 'convnext_mm'}
        for module, path in MODULES.items()
    }
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, ' -> '.join([*open_[open_.index(module) :], module])
        if module in done:
            return
        open_.append(module)
        for name in sorted(graph[module]):
            visit(name)
        done.add(open_.pop())

    for module in sorted(graph):
        visit(module)


@pytest.mark.parametrize('module', sorted(m for m in MODULES if room(m) in CORE))
def test_the_core_imports_no_framework(module):
    roots = {name.partition('.')[0] for name in imports(MODULES[module])}
    assert not roots & set(FRAMEWORKS)


@pytest.mark.parametrize(
    'statement',
    [
        'import convnext_mm',
        'from convnext_mm.cli.main import overview; overview()',  # imports every command
        'import convnext_mm.datasets.own.check, convnext_mm.datasets.published.prepare',
    ],
)
def test_what_needs_no_model_imports_neither_torch_nor_mmengine(statement):
    script = f"{statement}; import sys; print({{'torch', 'mmengine'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.stdout == 'set()\n', done.stdout + done.stderr


@pytest.mark.parametrize('first', ['convnext_mm', 'convnext_mm.backbone'])
def test_the_classes_are_registered_whatever_is_imported_first(first):
    script = f"""
import {first}, sys
finders = len(sys.meta_path)
from mmengine import registry
assert registry.MODELS.get('ConvNeXt')
assert registry.WEIGHT_INITIALIZERS.get('ConvNeXtPretrained')
assert registry.OPTIM_WRAPPER_CONSTRUCTORS.get('LayerDecayOptimWrapperConstructor')
print(finders - len(sys.meta_path))
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    expected = '1' if first == 'convnext_mm' else '0'  # The finder that waits for MMEngine goes.
    assert done.stdout.strip() == expected, done.stdout + done.stderr


@pytest.mark.parametrize('module', sorted(m for m in MODULES if room(m) in CORE))
def test_only_modules_that_register_classes_import_mmengine_at_their_top(module):
    """The reason is in the comment on ``registration.MODULES``."""
    top = ast.parse(MODULES[module].read_text()).body
    names = [node.module or '' for node in top if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
    roots = {name.partition('.')[0] for name in names}
    assert 'mmengine' not in roots or module in registration.MODULES


def test_importing_the_package_loads_no_framework_and_changes_nothing_for_the_process():
    script = f"""
import sys, warnings
import mmengine
callers = []
for name in ('filterwarnings', 'simplefilter'):
    def record(*args, original=getattr(warnings, name), **kwargs):
        callers.append(sys._getframe(1).f_code.co_filename)
        return original(*args, **kwargs)
    setattr(warnings, name, record)
finders = list(sys.meta_path)
import convnext_mm
print([name for name in {FRAMEWORKS} if name in sys.modules])
print([finder for finder in sys.meta_path if finder not in finders])
print([caller for caller in callers if 'convnext_mm' in caller])
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.stdout.split() == ['[]'] * 3, done.stdout + done.stderr
