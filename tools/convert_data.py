#!/usr/bin/env python
"""Write a data set of your own in COCO or YOLO format: tools/convert_data.py PATH OUT --to yolo"""

import sys

from convnext_mm.cli.convert_data import main

if __name__ == '__main__':
    sys.exit(main())
