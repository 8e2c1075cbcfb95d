#!/usr/bin/env python
"""Pack what benchmarks/gpu.py needs on a machine with PyTorch and no network: make gpu-kit

Writes gpu_kit/: the Python packages that such a machine may lack, as wheels of pure Python, and
gpu_kit.tar.gz with them and the files of this checkout. There:

    tar xzf gpu_kit.tar.gz && python3 benchmarks/gpu.py --out results
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT / 'gpu_kit'
ARCHIVE = ROOT / 'gpu_kit.tar.gz'
LIMIT = 60e6  # bytes

# MMEngine and MMPretrain with what they import. mmcv-lite is MMCV without compiled operators.
INSTALLED = ('mmengine', 'addict', 'termcolor', 'yapf', 'platformdirs')
INSTALLED += ('mmpretrain', 'modelindex', 'mat4py', 'importlib-metadata', 'zipp', 'einops')
OTHERS = ('mmcv-lite==2.1.0', 'setuptools<81')  # MMEngine imports pkg_resources


def main() -> int:
    shutil.rmtree(KIT, ignore_errors=True)
    wanted = [f'{name}=={version(name)}' for name in INSTALLED]
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', KIT]
    subprocess.run([*command, *wanted, *OTHERS], check=True)
    if compiled := [wheel.name for wheel in KIT.iterdir() if not wheel.name.endswith('-any.whl')]:
        print(f'error: not pure Python: {", ".join(compiled)}', file=sys.stderr)
        return 1
    listed = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with tarfile.open(ARCHIVE, 'w:gz') as archive:
        for name in filter(None, listed.stdout.split('\0')):
            archive.add(ROOT / name, name)
        for wheel in sorted(KIT.glob('*.whl')):
            archive.add(wheel, f'{KIT.name}/{wheel.name}')
    size = ARCHIVE.stat().st_size
    print(f'written: {ARCHIVE.name}, {size / 1e6:.1f} MB')
    return int(size > LIMIT)


if __name__ == '__main__':
    sys.exit(main())
