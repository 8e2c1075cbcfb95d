#!/usr/bin/env python
"""Draw augmented training images with their annotations: tools/browse.py CONFIG"""

import sys

from convnext_mm.cli.browse import main

if __name__ == '__main__':
    sys.exit(main())
