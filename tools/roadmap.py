#!/usr/bin/env python
"""Train every step from ResNet to ConvNeXt and draw figure 2: tools/roadmap.py"""

import sys

from convnext_mm.cli.roadmap import main

if __name__ == '__main__':
    sys.exit(main())
