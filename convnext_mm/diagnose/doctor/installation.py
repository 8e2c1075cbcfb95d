"""Python, PyTorch, the OpenMMLab packages and their compiled operators, and the machine."""

from __future__ import annotations

import importlib
import importlib.util
import os
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
from convnext_mm.diagnose.doctor.findings import Finding, guarded, note, ok, seconds, wrong

# Import name -> the scope of its registries, if it has some of its own.
_STACK = {'mmengine': '', 'mmcv': '', 'mmdet': 'mmdet', 'mmseg': 'mmseg'}
_FAMILIES = ('openmmlab', 'onedl')
_GIB = 2**30
_LOW_DISK = 10  # GiB: a few checkpoints of a large model with its optimizer
_FULL_DISK = 1


def check_installation() -> Iterator[Finding]:
    """All that does not depend on a config."""
    yield from guarded('Python', _python)
    yield from guarded('PyTorch', _pytorch)
    yield from guarded('OpenMMLab', _one_family)
    for name in _STACK:
        yield from guarded(name, _package, name)
        if not importable(name):
            break  # the others need it, and would end in the same error
    yield from guarded('torchvision', _torchvision)
    yield from guarded('setuptools', _setuptools)
    yield from guarded('disk', _disk)
    if not importable():
        return
    yield from guarded('MMPretrain', _mmpretrain)
    yield from guarded('registries', _registries)
    for device in ('cpu', 'cuda') if torch.cuda.is_available() else ('cpu',):
        yield from guarded(f'MMCV ops, {device}', _operators, device)


def importable(*names: str) -> bool:
    """Whether packages can be imported; without names, all that detectors and segmentors need."""
    try:
        for name in names or _STACK:
            importlib.import_module(name)
    except Exception:
        return False
    return True


def _python() -> Finding:
    return ok('Python', f'{platform.python_version()} in {sys.prefix}')


def _pytorch() -> Iterator[Finding]:
    version = tuple(int(part) for part in re.findall(r'\d+', torch.__version__)[:2])
    if version < (2, 6):
        yield wrong('PyTorch', f'{torch.__version__} is too old', "pip install -U 'torch>=2.6'")
    else:
        yield ok('PyTorch', torch.__version__)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            memory = f'{gpu.total_memory / _GIB:.0f} GiB'
            yield ok('GPU', f'{gpu.name}, {memory}, CUDA {torch.version.cuda}')
    elif not Path('/dev/nvidiactl').exists() and not shutil.which('nvidia-smi'):
        yield note('GPU', 'none: training and prediction run on the CPU')
    elif torch.version.cuda is None:
        yield wrong(
            'GPU',
            'there is an NVIDIA driver, but this PyTorch is built without CUDA',
            'install a CUDA build of PyTorch (pytorch.org), then MMCV again: make clean setup',
        )
    else:
        yield wrong(
            'GPU',
            f'PyTorch for CUDA {torch.version.cuda} sees none, though there is an NVIDIA driver',
            'compare with `nvidia-smi`: a driver too old for this CUDA, no GPU in the container, '
            'or CUDA_VISIBLE_DEVICES hides it',
        )


def _one_family() -> Finding:
    """The maintained fork installs the same modules; whichever came last has overwritten files."""
    installed = _distributions()
    both = [f'{name} ({" and ".join(d)})' for name, d in installed.items() if len(d) > 1]
    if both:
        return wrong(
            'OpenMMLab',
            f'installed twice: {", ".join(both)}',
            'pip uninstall all of these, and install one family again: '
            'pip install "convnext-mm[openmmlab]" or "convnext-mm[onedl]"',
        )
    return ok('OpenMMLab', ', '.join(d[0] for d in installed.values() if d))


def _package(name: str) -> Finding:
    """That it is there, has a version this plugin is made for, and can be imported."""
    names = _distributions()[name]
    if not names:
        return wrong(
            name, 'is not installed', 'make setup, or pip install "convnext-mm[openmmlab]"'
        )
    version = metadata.version(names[0])
    required = _required().get(names[0])
    if required and not required.specifier.contains(version, prereleases=True):
        return wrong(
            name, f'{version}, but this plugin needs {required}', f"pip install '{required}'"
        )
    importlib.import_module(name)
    if not required:
        return ok(name, version)
    asked = ','.join(sorted(map(str, required.specifier), reverse=True))
    return ok(name, f'{version} ({asked} asked for)')


def _mmpretrain() -> Finding:
    if importlib.util.find_spec('mmpretrain') is None:
        return ok('MMPretrain', 'not installed, and not needed')
    version = metadata.version(_distributions()['mmpretrain'][0])
    try:
        importlib.import_module('mmpretrain.models')
    except ImportError as error:
        reason = str(error).partition('\n')[0]
        return ok('MMPretrain', f'{version} cannot be imported and is left alone ({reason})')
    return ok('MMPretrain', version)


def _torchvision() -> Finding:
    if importlib.util.find_spec('torchvision') is None:
        return ok('torchvision', 'not installed, and not needed')
    version = metadata.version('torchvision')
    try:
        torchvision = importlib.import_module('torchvision')
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as error:
        reason = str(error).partition('\n')[0]
        return wrong(
            'torchvision',
            f'{version} does not fit PyTorch {torch.__version__}: {reason}',
            'pip install the version that belongs to this PyTorch, or pip uninstall torchvision',
        )
    return ok('torchvision', version)


def _setuptools() -> Finding:
    if importlib.util.find_spec('pkg_resources') is None:
        return wrong(
            'setuptools', 'no pkg_resources, which MMEngine imports', "pip install 'setuptools<82'"
        )
    return ok('setuptools', f'{metadata.version("setuptools")}, with pkg_resources')


def _registries() -> Finding:
    scopes = [scope for scope in _STACK.values() if scope]
    for scope in scopes:
        models = importlib.import_module(f'{scope}.registry').MODELS
        for name in ('ConvNeXt', 'convnext_mm.ConvNeXt'):
            if models.get(name) is not ConvNeXt:
                return wrong(
                    'registries',
                    f'type={name!r} in {scope} is {models.get(name)}',
                    'another package registers a ConvNeXt: write convnext_mm.ConvNeXt',
                )
    return ok('registries', f'{" and ".join(scopes)} know ConvNeXt')


def _operators(device: str) -> Finding:
    from mmcv.ops import RoIAlign, nms

    start = time.perf_counter()
    boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 4], [4, 4, 8, 8.0]], device=device)
    _, kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)
    maps = torch.arange(64.0, device=device).view(1, 1, 8, 8).requires_grad_()
    rois = torch.tensor([[0, 2, 2, 4, 4.0]], device=device)
    pooled = RoIAlign(output_size=1, sampling_ratio=1)(maps, rois)
    pooled.sum().backward()
    # One sample in the middle, (3, 3), of which aligned RoIs subtract half a pixel.
    if kept.tolist() != [0, 2] or abs(float(pooled) - 22.5) > 1e-3 or not maps.grad.any():
        return wrong(
            f'MMCV ops, {device}',
            'nms or RoIAlign give wrong results',
            'compile MMCV again for this PyTorch: make clean setup',
        )
    return ok(f'MMCV ops, {device}', f'nms and RoIAlign, {seconds(start)}')


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    text = f'{free:.0f} GiB free here'
    if free < _FULL_DISK:
        return wrong('disk', f'{free:.1f} GiB free here', 'free some space: checkpoints go here')
    if free < _LOW_DISK:
        return note('disk', text, 'checkpoints with their optimizer take up to 4 GiB each')
    return ok('disk', text)


def _distributions() -> dict[str, list[str]]:
    """Import names of the family -> what is installed under them."""
    by_module = metadata.packages_distributions()
    return {name: sorted(set(by_module.get(name, ()))) for name in (*_STACK, 'mmpretrain')}


def _required() -> dict[str, Requirement]:
    """What this plugin's own extras ask for, by the name of the distribution."""
    try:
        lines = metadata.requires('convnext-mm') or []
    except metadata.PackageNotFoundError:  # used from a checkout
        return {}
    found = [Requirement(line) for line in lines]
    extras = [{'extra': family} for family in _FAMILIES]
    return {
        requirement.name: Requirement(f'{requirement.name}{requirement.specifier}')
        for requirement in found
        if requirement.marker and any(requirement.marker.evaluate(extra) for extra in extras)
    }


def cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
