#!/usr/bin/env python
"""Train a detector or segmentor: tools/train.py configs/cascade/convnext_t_coco.py"""

import os
import sys

# OpenMP threads spin while they wait, and take the cores from the data-loader workers. On a busy
# CPU that makes training several times slower. OpenMP reads this when torch is loaded.
os.environ.setdefault('GOMP_SPINCOUNT', '1000')

from convnext_mm.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
