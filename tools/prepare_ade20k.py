#!/usr/bin/env python
"""Check ADE20K: tools/prepare_ade20k.py [ROOT]; download what is missing: --download"""

import sys

from convnext_mm.datasets.published import prepare
from convnext_mm.datasets.published.catalogue import ADE20K

if __name__ == '__main__':
    sys.exit(prepare.main(ADE20K))
