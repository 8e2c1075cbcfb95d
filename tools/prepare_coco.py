#!/usr/bin/env python
"""Check COCO: tools/prepare_coco.py [ROOT]; download what is missing: --download"""

import sys

from convnext_mm.datasets.published import prepare
from convnext_mm.datasets.published.catalogue import COCO

if __name__ == '__main__':
    sys.exit(prepare.main(COCO))
