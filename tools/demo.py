#!/usr/bin/env python
"""Train and score a small Cascade Mask R-CNN on the built-in shapes: make demo"""

import sys

from convnext_mm.cli.demo import main

if __name__ == '__main__':
    sys.exit(main())
