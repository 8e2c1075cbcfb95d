#!/usr/bin/env python
"""Check ADE20K: tools/prepare_ade20k.py [ROOT]; download what is missing: --download"""

import sys

from convnext_mm.cli.prepare_ade20k import main

if __name__ == '__main__':
    sys.exit(main())
