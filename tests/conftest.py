"""What several tests need: small data sets, the tools as a user calls them."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from convnext_mm.datasets.shapes import write as shapes
from tests import tool_server

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def shapes_coco(tmp_path_factory) -> Path:
    """A few shapes in COCO's layout."""
    root = tmp_path_factory.mktemp('data') / 'shapes'
    shapes.write_coco(root, train=16, val=6, height=64, width=64)
    return root


@pytest.fixture(scope='session')
def shapes_ade(tmp_path_factory) -> Path:
    """A few shapes in ADE20K's layout."""
    root = tmp_path_factory.mktemp('data') / 'shapes_ade'
    shapes.write_ade(root, train=16, val=6, height=64, width=64)
    return root


@pytest.fixture(scope='session')
def small_detector(shapes_coco) -> str:
    """Text of a config: the demo's model and recipe on a few shapes, two epochs of four batches."""
    return f"""
_base_ = '{ROOT}/configs/cascade/convnext_atto_shapes.py'
data_root = '{shapes_coco}/'
train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=2, T_max=2)]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2), logger=dict(interval=1))
"""


class Finished:
    """A finished command: its exit code and all it printed, colours removed."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = re.sub(r'\x1b\[[0-9;]*m', '', output)


def run_tool(
    name: str, *arguments, cwd: Path = ROOT, pythonpath: Path | str = '', **environment: str
) -> Finished:
    """Run a script of tools/ as a user does."""
    arguments = [str(argument) for argument in arguments]
    if name.endswith('.py') and not pythonpath and not environment:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, 'output')
            code = tool_server.run(name, arguments, cwd, output)
            return Finished(code, output.read_text())
    command = [] if name.endswith('.sh') else [sys.executable]
    done = subprocess.run(
        [*command, str(ROOT / 'tools' / name), *arguments],
        cwd=cwd,
        # One thread each: small tensors, and other tests beside it.
        env={
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHON': sys.executable,
            'PYTHONPATH': str(pythonpath),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Finished(done.returncode, done.stdout)
