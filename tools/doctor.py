#!/usr/bin/env python
"""Check the installation and a config: tools/doctor.py [CONFIG] [CHECKPOINT]"""

import sys
import warnings

# The libraries warn about their own deprecated calls; a user cannot act on these warnings.
warnings.filterwarnings('ignore')

try:
    from convnext_mm.cli.doctor import main
except (ImportError, OSError) as error:  # OSError: a CUDA library is missing
    print(f'error: {error}\nNothing else can be checked without it: make setup', file=sys.stderr)
    sys.exit(1)

if __name__ == '__main__':
    sys.exit(main())
