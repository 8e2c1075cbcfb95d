#!/usr/bin/env python
"""Recommend a recipe for a data set of your own: tools/recommend.py PATH"""

import sys

from convnext_mm.cli.recommend import main

if __name__ == '__main__':
    sys.exit(main())
