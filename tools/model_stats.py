#!/usr/bin/env python
"""Print the parameters and FLOPs of a model: tools/model_stats.py CONFIG"""

import sys

from convnext_mm.cli.model_stats import main

if __name__ == '__main__':
    sys.exit(main())
