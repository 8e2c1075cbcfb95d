#!/usr/bin/env python
"""Check COCO: tools/prepare_coco.py [ROOT]; download what is missing: --download"""

import sys

from convnext_mm.cli.prepare_coco import main

if __name__ == '__main__':
    sys.exit(main())
