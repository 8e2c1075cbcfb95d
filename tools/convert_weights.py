#!/usr/bin/env python
"""Write weights under the names of another project: tools/convert_weights.py SRC DST --to timm"""

import sys

from convnext_mm.cli.convert_weights import main

if __name__ == '__main__':
    sys.exit(main())
