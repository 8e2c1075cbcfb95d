#!/usr/bin/env python
"""Write the report of a test without the model: tools/report.py RESULTS CONFIG"""

import sys

from convnext_mm.cli.report import main

if __name__ == '__main__':
    sys.exit(main())
