#!/usr/bin/env python
"""Check ADE20K: tools/prepare_ade20k.py [ROOT]; download what is missing: --download"""

import sys

from prepare_coco import main  # the script beside this one

from convnext_mm.datasets.published.catalogue import ADE20K

if __name__ == '__main__':
    sys.exit(main(ADE20K))
