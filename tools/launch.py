#!/usr/bin/env python
"""Run a script in several processes: tools/launch.py PROCESSES SCRIPT ..."""

import sys

from convnext_mm.cli.launch import main

if __name__ == '__main__':
    sys.exit(main())
