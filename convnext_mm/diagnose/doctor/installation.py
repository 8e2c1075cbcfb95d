"""Check Python, PyTorch, the OpenMMLab packages, their compiled operators, and the machine."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from convnext_mm.backbone import ConvNeXt
from convnext_mm.compat import import_mmpretrain
from convnext_mm.diagnose.doctor.guard import elapsed, guarded
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Finding, error, note, ok

# Import name, which is also the scope of the registries -> the models it is for. One is enough.
LIBRARIES = {'mmdet': 'detectors', 'mmseg': 'segmentors'}
INSTALL = 'make setup, or pip install "convnext-mm[openmmlab]"'
_BASE = ('mmengine', 'mmcv')  # both libraries need them
_FAMILIES = ('openmmlab', 'onedl')
_GIB = 2**30
_LOW_DISK = 10  # GiB: a few checkpoints of a large model with its optimizer
_FULL_DISK = 1  # GiB


def check_installation() -> Iterator[Finding]:
    """Check everything that does not depend on a config."""
    yield from guarded('Python', _python)
    yield from guarded('PyTorch', _pytorch)
    yield from guarded('OpenMMLab', _one_family)
    for name in (*_BASE, *LIBRARIES):
        yield from guarded(name, _package, name)
        if name in _BASE and not can_import(name):
            break  # the packages that follow need it and would fail with the same error
    yield from guarded('torchvision', _torchvision)
    yield from guarded('setuptools', _setuptools)
    yield from guarded('disk', _disk)
    if not can_import(*_BASE):
        return
    yield from guarded('MMPretrain', _mmpretrain)
    yield from guarded('registries', _registries)
    for device in ('cpu', 'cuda') if torch.cuda.is_available() else ('cpu',):
        yield from guarded(f'MMCV ops, {device}', _operators, device)


def can_import(*names: str) -> bool:
    """Return whether all these packages can be imported."""
    try:
        for name in names:
            importlib.import_module(name)
    except Exception:  # a broken package may raise anything
        return False
    return True


def _python() -> Finding:
    return ok('Python', f'{platform.python_version()} in {sys.prefix}')


def _pytorch() -> Iterator[Finding]:
    version = tuple(int(part) for part in re.findall(r'\d+', torch.__version__)[:2])
    if version < (2, 6):
        yield error(
            'PyTorch',
            f'{torch.__version__} is too old: at least 2.6 is needed',
            "pip install -U 'torch>=2.6'",
        )
    else:
        yield ok('PyTorch', torch.__version__)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            memory = f'{gpu.total_memory / _GIB:.0f} GiB'
            yield ok('GPU', f'{gpu.name}, {memory}, CUDA {torch.version.cuda}')
    elif not Path('/dev/nvidiactl').exists() and not shutil.which('nvidia-smi'):
        yield note('GPU', 'none found: training and prediction run on the CPU')
    elif torch.version.cuda is None:
        yield error(
            'GPU',
            'there is an NVIDIA driver, but this PyTorch was built without CUDA',
            'install a CUDA build of PyTorch (pytorch.org), then compile MMCV again: '
            'make clean setup',
        )
    else:
        yield error(
            'GPU',
            f'there is an NVIDIA driver, but PyTorch for CUDA {torch.version.cuda} sees no GPU',
            'compare with `nvidia-smi`. Usual causes: the driver is too old for this CUDA version, '
            'the container has no GPU, or CUDA_VISIBLE_DEVICES hides the GPU',
        )


def _one_family() -> Finding:
    """Check that only one family of packages is installed.

    The onedl packages install the same modules as OpenMMLab's and overwrite their files.
    """
    installed = _distributions()
    both = [f'{name} ({" and ".join(d)})' for name, d in installed.items() if len(d) > 1]
    if both:
        return error(
            'OpenMMLab',
            f'two packages install the same modules: {", ".join(both)}',
            'pip uninstall all of them, then install one family: '
            'pip install "convnext-mm[openmmlab]" or "convnext-mm[onedl]"',
        )
    return ok('OpenMMLab', ', '.join(d[0] for d in installed.values() if d))


def _package(name: str) -> Finding:
    """Check that a package is installed in a supported version and can be imported."""
    installed = _distributions()
    names = installed[name]
    if not names:
        if name in LIBRARIES and any(installed[other] for other in LIBRARIES):
            return note(name, f'is not installed; {LIBRARIES[name]} need it', INSTALL)
        return error(name, 'is not installed', INSTALL)
    version = metadata.version(names[0])
    required = _required().get(names[0])
    if required and not required.specifier.contains(version, prereleases=True):
        return error(
            name, f'{version}, but convnext-mm needs {required}', f"pip install '{required}'"
        )
    importlib.import_module(name)
    if not required:
        return ok(name, version)
    supported = ','.join(sorted(map(str, required.specifier), reverse=True))
    return ok(name, f'{version} (supported: {supported})')


def _mmpretrain() -> Finding:
    if importlib.util.find_spec('mmpretrain') is None:
        return ok('MMPretrain', 'not installed; it is optional')
    version = metadata.version(_distributions()['mmpretrain'][0])
    try:
        import_mmpretrain()
    except UserError as failure:
        return ok('MMPretrain', f'{version} cannot be used: {failure}; only a classifier needs it')
    return ok('MMPretrain', version)


def _torchvision() -> Finding:
    if importlib.util.find_spec('torchvision') is None:
        return ok('torchvision', 'not installed; it is optional')
    version = metadata.version('torchvision')
    try:
        torchvision = importlib.import_module('torchvision')
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as failure:  # operators compiled for another PyTorch raise several types
        reason = str(failure).partition('\n')[0]
        return error(
            'torchvision',
            f'{version} does not fit PyTorch {torch.__version__}: {reason}',
            'install the torchvision version for this PyTorch, or pip uninstall torchvision',
        )
    return ok('torchvision', version)


def _setuptools() -> Finding:
    if importlib.util.find_spec('pkg_resources') is None:
        return error(
            'setuptools',
            'has no pkg_resources, but MMEngine imports it',
            "pip install 'setuptools<82'",
        )
    return ok('setuptools', f'{metadata.version("setuptools")}, with pkg_resources')


def _registries() -> Finding:
    scopes = [name for name in LIBRARIES if can_import(name)]
    if not scopes:
        return note('registries', 'not checked: neither mmdet nor mmseg can be imported')
    for scope in scopes:
        models = importlib.import_module(f'{scope}.registry').MODELS
        for name in ('ConvNeXt', 'convnext_mm.ConvNeXt'):
            if models.get(name) is not ConvNeXt:
                return error(
                    'registries',
                    f'type={name!r} of {scope} builds {models.get(name)}',
                    "another package registers ConvNeXt: write type='convnext_mm.ConvNeXt'",
                )
    return ok('registries', f"type='ConvNeXt' works in {' and '.join(scopes)}")


def _operators(device: str) -> Finding:
    from mmcv.ops import RoIAlign, nms

    start = time.perf_counter()
    boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 4], [4, 4, 8, 8.0]], device=device)
    _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)
    maps = torch.arange(64.0, device=device).view(1, 1, 8, 8).requires_grad_()
    rois = torch.tensor([[0, 2, 2, 4, 4.0]], device=device)
    pooled = RoIAlign(output_size=1, sampling_ratio=1)(maps, rois)
    pooled.sum().backward()
    # One sample in the middle of the box, at (3, 3). Aligned RoIs subtract half a pixel: 22.5.
    if kept.tolist() != [0, 2] or abs(float(pooled) - 22.5) > 1e-3 or not maps.grad.any():
        return error(
            f'MMCV ops, {device}',
            'nms or RoIAlign gives a wrong result',
            'compile MMCV again for this PyTorch: make clean setup',
        )
    return ok(f'MMCV ops, {device}', f'nms and RoIAlign are correct, {elapsed(start)}')


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    text = f'{free:.0f} GiB free in {Path.cwd()}'
    if free < _FULL_DISK:
        return error(
            'disk', f'{free:.1f} GiB free in {Path.cwd()}', 'free some space for checkpoints'
        )
    if free < _LOW_DISK:
        return note('disk', text, 'a checkpoint with its optimizer takes up to 4 GiB')
    return ok('disk', text)


def _distributions() -> dict[str, list[str]]:
    """Return the installed distributions of each import name."""
    by_module = metadata.packages_distributions()
    return {
        name: sorted(set(by_module.get(name, ()))) for name in (*_BASE, *LIBRARIES, 'mmpretrain')
    }


def _required() -> dict[str, Requirement]:
    """Return the versions that the extras of convnext-mm require, by distribution name."""
    try:
        lines = metadata.requires('convnext-mm') or []
    except metadata.PackageNotFoundError:  # run from a checkout without installing it
        return {}
    found = [Requirement(line) for line in lines]
    extras = [{'extra': family} for family in _FAMILIES]
    return {
        requirement.name: Requirement(f'{requirement.name}{requirement.specifier}')
        for requirement in found
        if requirement.marker and any(requirement.marker.evaluate(extra) for extra in extras)
    }
