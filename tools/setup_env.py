"""Make .venv: PyTorch, MMCV with its compiled operators, MMDetection, MMSegmentation, this package.

    python3 tools/setup_env.py                  # make setup
    python3 tools/setup_env.py --row onedl      # make setup ROW=onedl
    python3 tools/setup_env.py 2.12.0           # make setup TORCH=2.12.0
    python3 tools/setup_env.py installed        # the PyTorch of the Python that runs this script

A row is a set of versions that were tested together: ``constraints/<row>.txt`` pins them. MMCV is
published as source only. This script compiles it once per PyTorch and Python and
keeps the wheel in the user's cache. It uses the standard library only. Any Python from 3.6 on can
parse it, so that a user of an old Python reads an error and not a traceback.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
TMP = VENV / 'tmp'
STAMP = VENV / 'setup-stamp'
LOCK = ROOT / '.venv.lock'  # not inside .venv, because `venv --clear` empties that
CONSTRAINTS = ROOT / 'constraints'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'convnext-mm'
LOG = CACHE / 'setup.log'


class Row(NamedTuple):
    """An environment of the matrix; docs/compatibility.md says which of them ran."""

    name: str
    pythons: tuple
    torch: str
    family: str  # an extra in setup.py
    mmcv: str  # the distribution that must be compiled
    for_development: bool = False  # also has documentation, linter, and peers of the tests


# MMCV 2.1 has a setup.py that breaks in Python 3.13. numpy 1.26 has no wheels after Python 3.12.
# The default row pins packages that need Python 3.11.
ROWS = {
    row.name: row
    for row in (
        Row('default', ((3, 11), (3, 12)), '2.13.0', 'openmmlab', 'mmcv', True),
        Row('oldest', ((3, 10),), '2.6.0', 'openmmlab', 'mmcv'),
        Row('onedl', ((3, 11), (3, 12)), '2.13.0', 'onedl', 'onedl-mmcv'),
        Row('newest', ((3, 13),), '2.13.0', 'onedl', 'onedl-mmcv'),
    )
}

TRITON = '3.7.1'
STEPS = 5
DISK_GIB = 5  # .venv with a CPU build of PyTorch takes 2.6; pip and MMCV's objects need the rest
GIB_PER_COMPILER = 2.5

# Other ConvNeXt implementations that the tests compare with, and what transformers needs.
PEERS = (
    *('timm', 'torchvision', 'transformers', 'huggingface-hub', 'tokenizers'),
    *('requests', 'certifi', 'charset-normalizer', 'idna', 'urllib3'),
)

DEVELOPMENT = ('mmpretrain', 'ruff')

# Words in the output of a failed command -> what to do.
ADVICE = {
    'No space left on device': 'the disk is full: free some space',
    'Killed signal': 'the compiler ran out of memory: use `MAX_JOBS=1 make setup`',
    'after connection broken by': 'pip cannot reach the package index: check the network',
    'No matching distribution': 'pip finds no such version: check TORCH= and the network',
    'ResolutionImpossible': 'the pins in constraints/ do not fit this PyTorch: use another TORCH=',
    'undefined symbol': 'MMCV was compiled for another PyTorch: check PIP_FIND_LINKS',
    'ensurepip is not available': 'Python has no venv: on Debian, Ubuntu apt install python3-venv',
}

PROBE = """
import json, os, torch
from torch.utils.cpp_extension import CUDA_HOME
print(json.dumps(dict(version=torch.__version__, cuda=torch.version.cuda, hip=torch.version.hip,
                      gpu=torch.cuda.is_available(),
                      nvcc=bool(CUDA_HOME) and os.path.exists(CUDA_HOME + '/bin/nvcc'))))
"""

# A wheel without CUDA operators imports without an error, so this runs one on the GPU if it can.
CHECK_OPS = """
import torch
from mmcv.ops import nms
boxes = torch.tensor([[0., 0., 2., 2.], [0., 0., 2., 2.]])
scores = torch.tensor([0.9, 0.8])
device = 'cuda' if torch.cuda.is_available() else 'cpu'
_, kept = nms(boxes.to(device), scores.to(device), 0.5)
assert kept.tolist() == [0]
"""


class SetupError(Exception):
    """One line for the user: what is wrong and what to do."""


def check_python(row: Row, version=sys.version_info) -> None:
    if tuple(version[:2]) in row.pythons:
        return
    names = [f'{major}.{minor}' for major, minor in row.pythons]
    others = [other.name for other in ROWS.values() if tuple(version[:2]) in other.pythons]
    raise SetupError(
        f'the pins of the row {row.name!r} are not for Python {version[0]}.{version[1]}: '
        f'use {" or ".join(names)}, e.g. `make setup PYTHON=python{names[0]}`'
        + ''.join(f', or `make setup ROW={other}`' for other in others)
    )


def check_disk() -> None:
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < DISK_GIB:
        raise SetupError(f'{free:.1f} GiB free in {ROOT}, {DISK_GIB} GiB needed: free some space')


def check_compilers(torch: 'dict | None' = None) -> None:
    """Check for a C++ compiler, and for nvcc if `torch` sees a GPU."""
    if os.environ.get('PIP_FIND_LINKS'):
        return  # pip may find a compiled wheel there
    if not shutil.which(os.environ.get('CXX', 'c++')):
        raise SetupError(
            'no C++ compiler found, and MMCV must be compiled: install g++ or clang++ '
            '(Debian, Ubuntu: apt install g++; macOS: xcode-select --install), or set CXX'
        )
    if torch and torch['gpu'] and torch['cuda'] and not torch['nvcc']:
        raise SetupError(
            'a GPU is visible, but nvcc is not found, and MMCV must be compiled: install the CUDA '
            f'toolkit {torch["cuda"]}, or set CUDA_HOME to its folder'
        )


def compiler_jobs() -> int:
    """Return the number of compilers to run at once: one per core, limited by the memory."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    with contextlib.suppress(OSError, ValueError):  # the file holds 'max' if there is no limit
        memory = min(memory, int(Path('/sys/fs/cgroup/memory.max').read_text()))
    return max(1, min(os.cpu_count(), int(memory / 2**30 / GIB_PER_COMPILER)))


def run(*command, on_line=None) -> str:
    """Run a command, append its output to the log and return it."""
    # Many Pythons compile extensions with -g. Debug information makes MMCV three times slower to
    # compile, and the last of several flags counts.
    flags = f'{os.environ.get("CFLAGS", "")} -g0'.strip()
    env = dict(os.environ, TMPDIR=str(TMP), PIP_DISABLE_PIP_VERSION_CHECK='1', MMCV_WITH_OPS='1')
    env['CFLAGS'] = flags
    env['PATH'] = f'{PYTHON.parent}{os.pathsep}{env["PATH"]}'  # PyTorch looks there for ninja
    env.setdefault('MAX_JOBS', str(compiler_jobs()))
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT, env=env, **pipes)
    output = ''
    with process, open(LOG, 'a') as log:
        print('$', *command, file=log)
        for line in process.stdout:
            print(line, end='', file=log, flush=True)
            output += line
            if on_line:
                on_line(line)
    if process.returncode:
        raise SetupError(advice(output))
    return output


def advice(output: str) -> str:
    """Return the cause of a failed command and what to do, by its output."""
    for symptom, what_to_do in ADVICE.items():
        if symptom in output:
            return f'{what_to_do}, then run `make setup` again; all output is in {LOG}'
    cause = re.search(r'^.*error: .*', output, re.IGNORECASE | re.MULTILINE)
    cause = cause[0].strip() if cause else 'a command failed'
    return f'{cause}: see {LOG}, then run `make setup` again'


def pins(row: Row) -> Path:
    return CONSTRAINTS / f'{row.name}.txt'


def pinned(row: Row, name: str) -> str:
    """Return the version of a distribution in the pins of a row."""
    return re.search(f'^{name}==(.+)$', pins(row).read_text(), re.MULTILINE)[1]


def pip(row: Row, command: str, *arguments, on_line=None) -> None:
    # Without isolation, pip builds packages with the pinned setuptools.
    options = ('--no-build-isolation', '-c', pins(row))
    run(PYTHON, '-m', 'pip', command, *options, *arguments, on_line=on_line)


@contextlib.contextmanager
def step(number: int, title: str):
    """Print the title of a step, and its duration when it ends."""
    print(f'[{number}/{STEPS}] {title} ... ', end='', flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print('failed')
        raise
    print(f'{time.monotonic() - start:.0f} s')


def show_progress(line: str) -> None:
    """Show every eighth ``[16/77]`` of ninja."""
    match = re.match(r'\s*\[(\d+)/(\d+)\]', line)
    if match and int(match[1]) % 8 == 0:
        print(f'      {match[1]} of {match[2]} files', flush=True)


def wheel_folder(mmcv: str, torch: str, python: str, machine: str) -> Path:
    """Return the folder in the cache for the wheel of one MMCV, PyTorch, Python and machine.

    Args:
        mmcv: Distribution and version, such as ``mmcv-2.1.0``.
    """
    return CACHE / 'wheels' / f'{mmcv}-torch-{torch}-{python}-{machine}'


def find_wheel(folder: Path) -> 'Path | None':
    return next(folder.glob('*mmcv-*.whl'), None)


def store(wheel: Path, folder: Path) -> None:
    """Copy a wheel into the cache; other processes never see a part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f'{wheel.name}.{os.getpid()}'
    shutil.copyfile(wheel, partial)
    partial.rename(folder / wheel.name)


def build_wheel(row: Row, torch: dict) -> Path:
    check_compilers(torch)
    print(f'compiling, about 8 minutes on 2 cores (log: {LOG})', flush=True)
    # pip's own cache may hold a wheel that was compiled for another PyTorch.
    options = ('-v', '--no-deps', '--no-cache-dir', '--wheel-dir', TMP)
    pip(row, 'wheel', *options, row.mmcv, on_line=show_progress)
    print('      compiled, ', end='')
    return find_wheel(TMP)


def install_mmcv(row: Row, wheel: Path) -> None:
    pip(row, 'install', '--force-reinstall', '--no-deps', wheel)  # also over the same version
    pip(row, 'install', wheel)
    # MMEngine requires opencv-python, which needs libGL; servers often have none. The headless
    # build has the same files and does not need it. It overwrites them.
    pip(row, 'install', '--force-reinstall', '--no-deps', 'opencv-python-headless')
    run(PYTHON, '-c', CHECK_OPS)


def provide_mmcv(row: Row, torch: dict) -> None:
    mmcv = f'{row.mmcv}-{pinned(row, row.mmcv)}'
    python = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    folder = wheel_folder(mmcv, torch['version'], python, sysconfig.get_platform())
    wheel = find_wheel(folder)
    if wheel:
        try:
            return install_mmcv(row, wheel)
        except SetupError:
            print(f'{wheel} does not work with this PyTorch', end='\n      ')
    wheel = build_wheel(row, torch)
    install_mmcv(row, wheel)
    store(wheel, folder)


def torch_of_this_python() -> 'tuple[str, Path]':
    """Return the version and the folder of the PyTorch that this Python imports."""
    from importlib import metadata

    try:
        torch = metadata.distribution('torch')
    except metadata.PackageNotFoundError:
        raise SetupError(
            f'TORCH=installed, but {sys.executable} has no torch: install it there, '
            'name another Python with PYTHON=, or give a version with TORCH='
        ) from None
    return torch.version, torch.locate_file('')


def setup(row: Row, torch: str = '') -> None:
    """Make .venv for a row, with its PyTorch or with another one."""
    check_python(row)
    torch = torch or row.torch
    version, folder = torch_of_this_python() if torch == 'installed' else (torch, None)
    # First line of the stamp: which Python and PyTorch; with others, .venv is made new. Second
    # line, written last: a hash of the inputs; with another one all steps run in the same .venv.
    which = (
        f'{VENV} for {row.name} with Python {platform.python_version()} '
        f'and PyTorch {version} ({torch})\n'
    )
    inputs = b''.join(f.read_bytes() for f in (pins(row), ROOT / 'setup.py', Path(__file__)))
    complete = which + hashlib.sha256(inputs).hexdigest()
    if read_stamp() != complete:  # before the lock, which a read-only clone cannot open
        with alone():
            if read_stamp() != complete:  # another process may have finished meanwhile
                make(row, version, folder, which)
                STAMP.write_text(complete)
                return
    print('.venv is up to date')


def read_stamp() -> str:
    return STAMP.read_text() if STAMP.exists() else ''


@contextlib.contextmanager
def alone():
    """Wait until no other process sets up this clone. The system frees the lock of a dead one."""
    with open(LOCK, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('another make setup is running here, waiting', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # this file system has no locks
        yield


def make(row: Row, version: str, torch_folder: 'Path | None', which: str) -> None:
    """Run all steps, in the existing .venv if its stamp begins with `which`."""
    check_disk()
    CACHE.mkdir(parents=True, exist_ok=True)
    LOG.write_text('')
    with step(1, f'.venv with Python {platform.python_version()}'):
        if not read_stamp().startswith(which):
            run(sys.executable, '-m', 'venv', '--clear', VENV)
        STAMP.write_text(which)
        shutil.rmtree(TMP, ignore_errors=True)
        TMP.mkdir()
        if not any(CACHE.glob('wheels/*/*.whl')):
            check_compilers()  # before the downloads, because MMCV will be compiled

    with step(2, f'PyTorch {version}'):
        if torch_folder:
            # --system-site-packages would not do, because this Python may be in a venv itself.
            site = run(PYTHON, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))')
            Path(site.strip(), 'torch-of-base.pth').write_text(f'{torch_folder}\n')
        else:
            pip(row, 'install', f'torch=={version}')
        pip(row, 'install', 'setuptools', 'wheel', 'ninja')
        torch = json.loads(run(PYTHON, '-c', PROBE).splitlines()[-1])

    with step(3, f'{row.mmcv} {pinned(row, row.mmcv)}'):
        provide_mmcv(row, torch)

    with step(4, 'MMDetection, MMSegmentation, convnext_mm'):
        extras = f'.[{row.family},export,test{",docs" if row.for_development else ""}]'
        pip(row, 'install', '-e', extras, *(DEVELOPMENT if row.for_development else ()))

    with step(5, 'test peers'):
        # PyTorch for GPUs has its own Triton. Elsewhere the tests run the kernels in the
        # interpreter of this one, which exists for Linux only.
        if not (torch['cuda'] or torch['hip']) and sys.platform == 'linux':
            pip(row, 'install', '--no-deps', f'triton=={TRITON}')
        if row.for_development:
            # In a folder that only tests import from: MMEngine and others would use this
            # torchvision. Its compiled part fits only one build of PyTorch, and the tests do not
            # need it.
            peers = VENV / 'peers'
            pip(row, 'install', '--upgrade', '--no-deps', '--target', peers, *PEERS)
            for library in peers.glob('torchvision/*.so'):
                library.unlink()
    shutil.rmtree(TMP)


def main() -> int:
    parser = argparse.ArgumentParser(description='Make .venv with all that this project needs.')
    parser.add_argument(
        'torch', nargs='?', default='', help="a PyTorch version, or 'installed'; default: the row's"
    )
    parser.add_argument('--row', choices=ROWS, default='default', help='a set of versions')
    arguments = parser.parse_args()
    try:
        setup(ROWS[arguments.row], arguments.torch)
    except (SetupError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
    except KeyboardInterrupt:
        print('interrupted: `make setup` continues from here', file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == '__main__':
    sys.exit(main())
