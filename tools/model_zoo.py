#!/usr/bin/env python
"""Write docs/model_zoo.md and model-index.yml from the configs: tools/model_zoo.py"""

import argparse
import sys
from pathlib import Path

import yaml

from convnext_mm.model_zoo import as_markdown, as_model_index, read_entries

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--to', type=Path, default=ROOT, help='folder to write into')
    to = parser.parse_args().to
    entries = read_entries(ROOT)
    (to / 'docs').mkdir(parents=True, exist_ok=True)
    (to / 'docs' / 'model_zoo.md').write_text(as_markdown(entries))
    # Aliases (&id001) for what repeats are shorter and hard to read.
    yaml.SafeDumper.ignore_aliases = lambda self, data: True
    index = yaml.safe_dump(as_model_index(entries), sort_keys=False, width=100)
    header = '# Written by tools/model_zoo.py from the configs.\n'
    (to / 'model-index.yml').write_text(header + index)
    return 0


if __name__ == '__main__':
    sys.exit(main())
