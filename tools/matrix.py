"""Test the wheel in one row of docs/compatibility.md, and write the result into its table.

    python3 tools/matrix.py oldest      # make matrix ROW=oldest
    python3 tools/matrix.py --list      # the rows and their Pythons as JSON, for a workflow

Everything happens in build/matrix/<row>, a copy of this checkout. `make setup ROW=<row>` makes the
environment there. Then the wheel replaces the package, and the package's folder is removed, so that
tests and demo can import nothing but the wheel. It uses the standard library only.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

from setup_env import ROWS, SetupError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'compatibility.md'
PYTHON = Path('.venv', 'bin', 'python')
DEMO_SECONDS = 60

# What depends on the versions of other packages: backbone, layer-wise decay, published files,
# recipes, the detectors of MMDetection, a training from start to end.
CORE = (
    'tests/test_backbone.py',
    'tests/test_compat.py',
    'tests/test_detectors.py',
    'tests/test_layer_decay.py',
    'tests/test_optim.py',
    'tests/test_roi_align.py',
    'tests/configs',
    'tests/engine/test_runner.py',
    'tests/weights/test_formats.py',
    'tests/weights/test_loading.py',
)

# The columns of versions, each with the distributions that provide it.
PACKAGES = {
    'PyTorch': ('torch',),
    'numpy': ('numpy',),
    'MMEngine': ('mmengine', 'onedl-mmengine'),
    'MMCV': ('mmcv', 'onedl-mmcv'),
    'MMDetection': ('mmdet', 'onedl-mmdetection'),
    'MMSegmentation': ('mmsegmentation', 'onedl-mmsegmentation'),
}
VERSIONS = """
import json, platform
from importlib.metadata import distributions
versions = {d.metadata['Name'].lower(): d.version for d in distributions()}
print(json.dumps(dict(versions, python=platform.python_version())))
"""


def run(folder: Path, *command, **options) -> subprocess.CompletedProcess:
    # PYTHONSAFEPATH would be enough from Python 3.11 on; the copy has no package in any case.
    env = dict(os.environ, OMP_NUM_THREADS='1')
    print('$', *command, flush=True)
    return subprocess.run([str(part) for part in command], cwd=str(folder), env=env, **options)


def find_python(row) -> str:
    """Return a Python that the row allows."""
    if sys.version_info[:2] in row.pythons:
        return sys.executable
    names = [f'python{major}.{minor}' for major, minor in row.pythons]
    for name in names:
        if shutil.which(name):
            return name
    raise SetupError(f'no Python for the row {row.name!r}: install {" or ".join(names)}')


def copy_checkout(folder: Path) -> None:
    """Copy the files that git knows; only .venv stays from an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in ('.venv', '.venv.lock'):
            shutil.rmtree(str(path)) if path.is_dir() else path.unlink()
    listing = subprocess.check_output(['git', 'ls-files', '-z'], cwd=str(ROOT)).decode()
    for name in filter(None, listing.split('\0')):
        if (ROOT / name).exists():  # convnext_mm/.mim/configs is a link to a folder
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(ROOT / name), str(folder / name), follow_symlinks=False)


def install_wheel(folder: Path) -> None:
    """Put the wheel in the place of the editable installation, and remove the package."""
    pip = (PYTHON, '-m', 'pip', '-q', '--disable-pip-version-check')
    options = ('--no-deps', '--no-build-isolation', '--no-cache-dir', '-w', 'dist')
    run(folder, *pip, 'wheel', *options, '.', check=True)
    (wheel,) = folder.glob('dist/convnext_mm-*.whl')
    run(folder, *pip, 'install', '--no-deps', '--force-reinstall', wheel, check=True)
    shutil.rmtree(str(folder / 'convnext_mm'))
    probe = 'import convnext_mm; print(convnext_mm.__file__)'
    where = run(folder, PYTHON, '-c', probe, check=True, stdout=subprocess.PIPE).stdout
    assert b'site-packages' in where, where


def run_tests(folder: Path) -> 'tuple[int, int, float]':
    """Run the core of the suite: how many tests passed, how many failed, and the seconds."""
    run(folder, PYTHON, '-m', 'pytest', '-q', '--junitxml', 'tests.xml', *CORE)
    suite = ElementTree.parse(str(folder / 'tests.xml')).getroot().find('testsuite')
    count = {name: int(suite.get(name)) for name in ('tests', 'failures', 'errors', 'skipped')}
    failed = count['failures'] + count['errors']
    return count['tests'] - failed - count['skipped'], failed, float(suite.get('time'))


def run_demo(folder: Path) -> bool:
    """Start the demo, and return whether it trains: a minute later it runs, and its loss is told.

    The demo may also finish in this minute.
    """
    log = folder / 'demo.log'
    with open(str(log), 'w') as output:
        print('$', PYTHON, 'tools/demo.py', flush=True)
        env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1')
        demo = subprocess.Popen(
            [str(PYTHON), 'tools/demo.py'],
            cwd=str(folder),
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its data-loader workers end with it
        )
        deadline = time.monotonic() + DEMO_SECONDS * 10
        trained = None
        while demo.poll() is None and time.monotonic() < (trained or deadline):
            if not trained and re.search(r'\bloss\b', log.read_text()):
                trained = time.monotonic() + DEMO_SECONDS
            time.sleep(1)
        alive = demo.poll() in (None, 0)
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGTERM)
            demo.wait()
    print(log.read_text()[-1000:])
    return alive and trained is not None


def cells(row, versions: dict, result: str, tests: str, seconds: str) -> list:
    """Return the cells of a row of the table."""
    packages = [
        next((versions[name] for name in names if name in versions), '-')
        for names in PACKAGES.values()
    ]
    return [f'`{row.name}`', versions['python'], *packages, result, tests, seconds]


def with_row(text: str, new: list) -> str:
    """Return the page with a row of its table replaced, or added at the end."""
    line = '| ' + ' | '.join(new) + ' |\n'
    begin, table, end = re.split('(?<=<!-- matrix -->\n)|(?=<!-- end -->)', text)
    same = re.compile(r'^\| ' + re.escape(new[0]) + r' \|.*\n', re.MULTILINE)
    table = same.sub(lambda match: line, table) if same.search(table) else table + line
    return begin + table + end


def test_row(row) -> int:
    folder = ROOT / 'build' / 'matrix' / row.name
    copy_checkout(folder)
    run(folder, find_python(row), 'tools/setup_env.py', '--row', row.name, check=True)
    install_wheel(folder)
    versions = run(folder, PYTHON, '-c', VERSIONS, check=True, stdout=subprocess.PIPE).stdout
    passed, failed, seconds = run_tests(folder)
    demo = run_demo(folder)
    result = 'ran' if demo and not failed else 'no, because '
    result += f'{failed} tests fail' if failed else '' if demo else 'the demo does not train'
    new = cells(row, json.loads(versions.decode()), result, str(passed), f'{seconds:.0f}')
    PAGE.write_text(with_row(PAGE.read_text(), new))
    print('| ' + ' | '.join(new) + ' |')
    return 0 if result == 'ran' else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('row', nargs='?', choices=ROWS, help='a set of versions in constraints/')
    parser.add_argument('--list', action='store_true', help='print the rows as JSON')
    arguments = parser.parse_args()
    if arguments.list:
        rows = [
            {'row': row.name, 'python': '.'.join(map(str, row.pythons[0]))} for row in ROWS.values()
        ]
        print(json.dumps(rows))
        return 0
    if not arguments.row:
        parser.error('name a row: ' + ', '.join(ROWS))
    try:
        return test_row(ROWS[arguments.row])
    except (SetupError, subprocess.CalledProcessError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
