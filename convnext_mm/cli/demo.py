"""Train and score a small Cascade Mask R-CNN on the built-in shapes.

The images are rendered into ``data/shapes``, and the results go to ``work_dirs/demo``, both in the
current folder.
"""

import sys

from convnext_mm.cli import train
from convnext_mm.cli.options import Parser
from convnext_mm.messages.commands import command

CONFIG = 'cascade/convnext_atto_shapes'
DATA = 'data/shapes'
WORK_DIR = 'work_dirs/demo'


def main(arguments: list[str] | None = None) -> int:
    Parser(description=__doc__).parse_args(arguments)
    from convnext_mm.datasets.shapes import write as shapes

    print(f'rendering the shapes data set into {DATA}', flush=True)
    try:
        shapes.write_coco(DATA, train=1100, val=150)
    except FileExistsError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    arguments = [CONFIG, '--work-dir', WORK_DIR]
    print('running', command('train'), *arguments, flush=True)
    return train.main(arguments)
