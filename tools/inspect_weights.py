#!/usr/bin/env python
"""Describe a weights file and how to use it: tools/inspect_weights.py FILE"""

import sys

from convnext_mm.cli.inspect_weights import main

if __name__ == '__main__':
    sys.exit(main())
