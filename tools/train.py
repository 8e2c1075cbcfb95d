#!/usr/bin/env python
"""Train a detector or segmentor: tools/train.py configs/cascade/convnext_t_coco.py"""

import sys

from convnext_mm.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
