#!/usr/bin/env python
"""Check a data set of your own before training on it: tools/check_data.py PATH"""

import sys

from convnext_mm.cli.check_data import main

if __name__ == '__main__':
    sys.exit(main())
