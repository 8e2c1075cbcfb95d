#!/usr/bin/env python
"""Check the installation and a config: tools/doctor.py [CONFIG] [CHECKPOINT]"""

import sys

from convnext_mm.cli.doctor import main

if __name__ == '__main__':
    sys.exit(main())
