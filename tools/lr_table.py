#!/usr/bin/env python
"""Print the learning rate and weight decay of all parameters: tools/lr_table.py CONFIG"""

import sys

from convnext_mm.cli.lr_table import main

if __name__ == '__main__':
    sys.exit(main())
