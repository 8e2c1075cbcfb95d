#!/usr/bin/env python
"""Predict on images and videos: tools/predict.py CONFIG CHECKPOINT photo.jpg folder 'x/*.png'"""

import sys

from convnext_mm.cli.predict import main

if __name__ == '__main__':
    sys.exit(main())
