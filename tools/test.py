#!/usr/bin/env python
"""Evaluate a checkpoint: tools/test.py configs/cascade/convnext_t_coco.py CHECKPOINT"""

import sys

from convnext_mm.cli.test import main

if __name__ == '__main__':
    sys.exit(main())
