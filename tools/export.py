#!/usr/bin/env python
"""Export a trained model as an ONNX file: tools/export.py CONFIG CHECKPOINT --out model.onnx"""

import sys

from convnext_mm.cli.export import main

if __name__ == '__main__':
    sys.exit(main())
