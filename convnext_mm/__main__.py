"""Run a command: python -m convnext_mm COMMAND"""

import sys

from convnext_mm.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
