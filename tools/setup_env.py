"""Make .venv: PyTorch, MMCV with its compiled ops, MMDetection, MMSegmentation and this plugin.

    python3 tools/setup_env.py 2.13.0       # or: make setup TORCH=2.13.0
    python3 tools/setup_env.py installed    # the PyTorch of the Python that runs this script

MMCV 2.1.0 is published as source only. It is compiled once per PyTorch and Python, and the wheel is
kept in the user's cache. Standard library only, and parsed by any Python from 3.6 on, so that an
unsupported one is told so.
"""

import argparse
import contextlib
import errno
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

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
TMP = VENV / 'tmp'
STAMP = VENV / 'setup-stamp'
LOCK = ROOT / '.venv.lock'  # beside .venv, which is at times made anew
CONSTRAINTS = ROOT / 'constraints.txt'
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'convnext-mm'
LOG = CACHE / 'setup.log'

MMCV = '2.1.0'
TRITON = '3.7.1'
STEPS = 5
VENV_GIB = 4  # .venv with a CPU build of PyTorch: 2.6, the rest for pip; CUDA builds take more
BUILD_GIB = 1  # MMCV's objects and wheel: 0.3, with CUDA more
GIB_PER_COMPILER = 2.5

# Other projects' ConvNeXts, to compare with, and what transformers does not start without.
PEERS = ('timm', 'torchvision', 'transformers')
PEERS += ('huggingface-hub', 'tokenizers', 'requests', 'certifi', 'charset-normalizer', 'idna')
PEERS += ('urllib3',)

# What a failed command's output says -> what to do about it.
ADVICE = (
    ('No space left on device', 'the disk is full: free some space'),
    ('Killed signal', 'the compiler ran out of memory: use `MAX_JOBS=1 make setup`'),
    ('after connection broken by', 'pip cannot reach the package index: check the network'),
    ('No matching distribution', 'pip finds no such version: check TORCH= and the network'),
    ('ResolutionImpossible', 'constraints.txt does not fit this PyTorch: use another TORCH='),
)

PROBE = """
import json, torch
from torch.utils.cpp_extension import CUDA_HOME
print(json.dumps(dict(version=torch.__version__, cuda=torch.version.cuda,
                      gpu=torch.cuda.is_available(), cuda_home=CUDA_HOME,
                      has_own_triton=bool(torch.version.cuda or torch.version.hip))))
"""

# On the GPU where there is one: a wheel built without it imports, and fails at the first CUDA op.
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


# --- what the machine must have -------------------------------------------------------------------


def check_python(version=sys.version_info) -> None:
    # Older Pythons have no wheels of the pinned numpy; MMCV 2.1.0's setup.py breaks in 3.13.
    if not (3, 11) <= tuple(version[:2]) <= (3, 12):
        raise SetupError(
            f'Python {version[0]}.{version[1]} is not supported: use 3.11 or 3.12, '
            'e.g. `make setup PYTHON=python3.11`'
        )


def check_disk(needed_gib: float) -> None:
    free_gib = shutil.disk_usage(ROOT).free / 2**30
    if free_gib < needed_gib:
        raise SetupError(
            f'{free_gib:.1f} GiB free in {ROOT}, about {needed_gib} GiB needed: free some space'
        )


def check_compiler() -> None:
    if not shutil.which(os.environ.get('CXX', 'c++')):
        raise SetupError(
            'no C++ compiler found, and MMCV must be compiled: install g++ or clang++ '
            '(Debian, Ubuntu: apt install g++; macOS: xcode-select --install), or set CXX'
        )


def check_nvcc(torch: dict) -> None:
    if torch['cuda'] and torch['gpu'] and not has_nvcc(torch['cuda_home']):
        raise SetupError(
            f'a GPU is visible, but nvcc is not found, and MMCV must be compiled: install the CUDA '
            f'toolkit {torch["cuda"]}, or set CUDA_HOME to where it is'
        )


def has_nvcc(cuda_home: str) -> bool:
    return bool(cuda_home) and Path(cuda_home, 'bin', 'nvcc').exists()


def compiler_jobs() -> int:
    """One compiler per core, as far as memory goes."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    with contextlib.suppress(OSError, ValueError):  # a container's own limit, or 'max'
        memory = min(memory, int(Path('/sys/fs/cgroup/memory.max').read_text()))
    return max(1, min(os.cpu_count(), int(memory / 2**30 / GIB_PER_COMPILER)))


# --- running things -------------------------------------------------------------------------------


def run(*command, on_line=None) -> str:
    """Run a command, its output in the log; return the output."""
    env = dict(os.environ, TMPDIR=str(TMP), PIP_DISABLE_PIP_VERSION_CHECK='1')
    env['PATH'] = f'{PYTHON.parent}{os.pathsep}{env["PATH"]}'  # PyTorch looks there for ninja
    env['MMCV_WITH_OPS'] = '1'
    env.setdefault('MAX_JOBS', str(compiler_jobs()))
    output = []
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    )
    with process, open(LOG, 'a') as log:
        print('$', *command, file=log)
        for line in process.stdout:
            print(line, end='', file=log, flush=True)
            output.append(line)
            if on_line:
                on_line(line)
    output = ''.join(output)
    if process.returncode:
        raise SetupError(what_to_do(output))
    return output


def what_to_do(output: str) -> str:
    for symptom, advice in ADVICE:
        if symptom in output:
            return f'{advice}, then run `make setup` again; all output is in {LOG}'
    errors = re.findall(r'^.*error: .*', output, re.IGNORECASE | re.MULTILINE)
    cause = errors[0].strip() if errors else 'a command failed'
    return f'{cause}: see {LOG}, then run `make setup` again'


def pip(*arguments, **options) -> str:
    return run(PYTHON, '-m', 'pip', *arguments, **options)


def install(*requirements) -> None:
    # Without isolation, what has no wheel is built with the setuptools of constraints.txt.
    pip('install', '--no-build-isolation', '-c', CONSTRAINTS, *requirements)


@contextlib.contextmanager
def step(number: int, title: str):
    print(f'[{number}/{STEPS}] {title} ... ', end='', flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print('failed')
        raise
    print(duration(time.monotonic() - start))


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


class Progress:
    """Show ninja's `[12/77]` lines as one line on a terminal, elsewhere as a line now and then."""

    def __init__(self, out=sys.stdout, clock=time.monotonic) -> None:
        self.out = out
        self.clock = clock
        self.start = self.shown = clock()
        self.tenth = 0

    def __call__(self, line: str) -> None:
        match = re.match(r'\s*\[(\d+)/(\d+)\]', line)
        if not match:
            return
        done, total = map(int, match.groups())
        now = self.clock()
        elapsed = now - self.start
        left = elapsed / done * (total - done)
        text = f'      {done}/{total} files, {duration(elapsed)} elapsed, {duration(left)} left'
        if self.out.isatty():
            print(f'\r{text}\033[K', end='', file=self.out, flush=True)
        elif done * 10 // total > self.tenth or now - self.shown >= 30:
            print(text, file=self.out, flush=True)
            self.tenth = done * 10 // total
            self.shown = now


# --- MMCV -----------------------------------------------------------------------------------------


def wheel_folder(mmcv: str, torch: str, python: str, machine: str) -> Path:
    """Where the cache keeps the wheel compiled for exactly this."""
    return CACHE / 'wheels' / f'mmcv-{mmcv}-torch-{torch}-{python}-{machine}'


def store(wheel: Path, folder: Path) -> Path:
    """Put a wheel into the cache; whoever looks meanwhile sees the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f'{wheel.name}.{os.getpid()}'
    shutil.copyfile(wheel, partial)
    return partial.rename(folder / wheel.name)


def cached_wheel(folder: Path) -> 'Path | None':
    return next(folder.glob('mmcv-*.whl'), None)


def published_wheel() -> 'Path | None':
    """A ready wheel, if pip knows of one (the user's PIP_FIND_LINKS counts)."""
    with contextlib.suppress(SetupError):
        pip('download', '--only-binary=:all:', '--no-deps', '--dest', TMP, f'mmcv=={MMCV}')
    return next(TMP.glob('mmcv-*.whl'), None)


def build_wheel(torch: dict) -> Path:
    check_compiler()
    check_nvcc(torch)
    check_disk(BUILD_GIB)
    print(f'compiling, some 14 minutes on 2 cores (log: {LOG})', flush=True)
    # Without pip's cache, which would hand out a wheel compiled for another PyTorch.
    options = ('--no-build-isolation', '--no-deps', '--no-binary=mmcv', '--no-cache-dir')
    pip('wheel', '-v', *options, '--wheel-dir', TMP / 'built', f'mmcv=={MMCV}', on_line=Progress())
    print('\n      compiled, ' if sys.stdout.isatty() else '      compiled, ', end='')
    return next((TMP / 'built').glob('mmcv-*.whl'))


def install_mmcv(wheel: Path) -> None:
    pip('uninstall', '-y', 'mmcv')  # pip would keep another build of the same version
    install(wheel)
    # MMEngine asks for opencv-python, which needs libGL: not there on servers. The headless build
    # holds the same files without that need, so it goes on top, and both stay installed.
    install('--force-reinstall', '--no-deps', 'opencv-python-headless')


def provide_mmcv(torch: dict) -> None:
    python = f'cp{sys.version_info[0]}{sys.version_info[1]}'
    folder = wheel_folder(MMCV, torch['version'], python, sysconfig.get_platform())
    wheel = cached_wheel(folder) or published_wheel()
    if wheel:
        install_mmcv(wheel)
        try:
            run(PYTHON, '-c', CHECK_OPS)
            return
        except SetupError:
            print(f'{wheel} does not work with this PyTorch', end='\n      ')
    install_mmcv(store(build_wheel(torch), folder))
    run(PYTHON, '-c', CHECK_OPS)


# --- the whole ------------------------------------------------------------------------------------


def torch_of_this_python() -> 'tuple[str, Path]':
    """Version and folder of the PyTorch that the Python running this script imports."""
    from importlib import metadata

    try:
        torch = metadata.distribution('torch')
    except metadata.PackageNotFoundError:
        raise SetupError(
            f'TORCH=installed, but {sys.executable} has no torch: install it there, '
            'name another Python with PYTHON=, or give a version with TORCH='
        ) from None
    return torch.version, torch.locate_file('')


def make_venv() -> None:
    try:
        run(sys.executable, '-m', 'venv', '--clear', VENV)
    except SetupError:
        raise SetupError(
            f'{sys.executable} cannot make a virtual environment (Debian, Ubuntu: apt install '
            f'python3-venv); all output is in {LOG}'
        ) from None


def setup(torch: str) -> None:
    check_python()
    version, folder = torch_of_this_python() if torch == 'installed' else (torch, None)

    # The stamp's first line says what .venv is: another .venv is made anew. Its second line comes
    # last: without it, or with another one, all steps run again, and pip skips what is there.
    what = f'{VENV} with Python {platform.python_version()} and PyTorch {version} ({torch})\n'
    inputs = (CONSTRAINTS, ROOT / 'setup.py', Path(__file__))
    complete = what + hashlib.sha256(b''.join(path.read_bytes() for path in inputs)).hexdigest()
    if read_stamp() != complete:  # looked at first, for a clone that cannot be written
        with alone():
            if read_stamp() != complete:  # another may have done it meanwhile
                make(version, folder, what)
                STAMP.write_text(complete)
                return
    print('.venv is up to date')


def read_stamp() -> str:
    return STAMP.read_text() if STAMP.exists() else ''


@contextlib.contextmanager
def alone():
    """Wait until no other process sets this clone up; one that is killed is not waited for."""
    with open(LOCK, 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('another make setup is running here, waiting', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks: as good as none
        yield


def make(version: str, folder: 'Path | None', what: str) -> None:
    """All steps: into the .venv that is there if its stamp says `what`, else into a new one."""
    check_disk(VENV_GIB)
    CACHE.mkdir(parents=True, exist_ok=True)
    LOG.write_text('')
    with step(1, f'.venv with Python {platform.python_version()}'):
        if not read_stamp().startswith(what):
            make_venv()
        STAMP.write_text(what)
        shutil.rmtree(TMP, ignore_errors=True)
        TMP.mkdir()
        if not any(CACHE.glob('wheels/*/*.whl')) and not published_wheel():
            # MMCV will be compiled. Whoever cannot do that learns it before the downloads.
            check_compiler()
            check_disk(VENV_GIB + BUILD_GIB)

    with step(2, f'PyTorch {version}'):
        if folder:
            # A path file and not --system-site-packages: this Python may be a venv itself.
            site = run(PYTHON, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))')
            Path(site.strip(), 'torch-of-base.pth').write_text(f'{folder}\n')
        else:
            install(f'torch=={version}')
        install('setuptools', 'wheel', 'ninja')
        found = json.loads(run(PYTHON, '-c', PROBE).splitlines()[-1])

    with step(3, f'MMCV {MMCV}'):
        provide_mmcv(found)

    with step(4, 'MMDetection, MMSegmentation, MMPretrain, convnext_mm'):
        install('-e', '.[openmmlab,export,test,docs]', 'mmpretrain', 'ruff')

    with step(5, 'test peers'):
        # A build for GPUs brings the Triton that fits it. Without one the kernels are tested in
        # this one's interpreter, which is there for Linux only.
        if not found['has_own_triton'] and sys.platform == 'linux':
            install('--no-deps', f'triton=={TRITON}')
        # Apart from the rest, for tests to import: MMEngine, timm and others use a torchvision that
        # they see. Its compiled part fits one build of PyTorch only, and the tests do without it.
        peers = VENV / 'peers'
        install('--upgrade', '--no-deps', '--target', peers, *PEERS)
        for library in peers.glob('torchvision/*.so'):
            library.unlink()

    shutil.rmtree(TMP)


def main() -> int:
    parser = argparse.ArgumentParser(description='Make .venv with all that this project needs.')
    parser.add_argument('torch', help="a PyTorch version, or 'installed'")
    arguments = parser.parse_args()
    try:
        setup(arguments.torch)
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
    except OSError as error:
        advice = ': free some space' if error.errno == errno.ENOSPC else ''
        print(f'error: {error}{advice}, then run `make setup` again', file=sys.stderr)
    except KeyboardInterrupt:
        print('interrupted: `make setup` goes on from here', file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == '__main__':
    sys.exit(main())
