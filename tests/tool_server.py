"""Run scripts of tools/ in forks of a process that has imported the frameworks.

A script spends six seconds on imports, and the tests run a hundred of them. A fork of a process
that has imported everything and done nothing else starts at once, and is as separate as a new one.
"""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
PRELOADED = (
    *('mmdet.apis', 'mmdet.datasets', 'mmdet.evaluation', 'mmdet.models', 'mmdet.visualization'),
    *('mmseg.apis', 'mmseg.datasets', 'mmseg.evaluation', 'mmseg.models', 'mmseg.visualization'),
    *('convnext_mm.engine', 'convnext_mm.inference', 'convnext_mm.evaluation.report.page'),
)

_server = multiprocessing.get_context('forkserver')
_server.set_forkserver_preload([*PRELOADED, __name__])


def run(name: str, arguments: list[str], cwd: Path, output: Path) -> int:
    """Run a script, with what it prints in the file `output`, and return its exit code."""
    process = _server.Process(target=_run, args=(name, arguments, cwd, output))
    process.start()
    process.join()
    return process.exitcode


def _run(name: str, arguments: list[str], cwd: Path, output: Path) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    for number in (1, 2):
        os.dup2(file, number)
    os.chdir(cwd)
    script = str(TOOLS / name)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name='__main__')
