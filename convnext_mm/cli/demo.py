"""Train and score a small Cascade Mask R-CNN on the built-in shapes."""

import subprocess
import sys
from pathlib import Path

from convnext_mm.datasets.shapes import write as shapes

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/cascade/convnext_atto_shapes.py'
DATA = ROOT / 'data' / 'shapes'
WORK_DIR = 'work_dirs/demo'


def main(arguments: list[str] | None = None) -> int:
    print(f'rendering the shapes data set into {DATA.relative_to(ROOT)}', flush=True)
    try:
        shapes.write_coco(DATA, train=1100, val=150)
    except FileExistsError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    command = ['tools/train.py', CONFIG, '--work-dir', WORK_DIR]
    print('running', *command, flush=True)
    return subprocess.run([sys.executable, *command], cwd=ROOT).returncode
