#!/usr/bin/env python
"""Make the images of the README from a finished demo: docs/generators/images.py work_dirs/demo

Needs Chromium, which renders report.html.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parents[1] / 'images'
SIZE = (720, 1012)  # of both images, so that they stand side by side
_WINDOW = (1100, 1546)  # the same shape, as wide as the report is made for


def predictions(work_dir: Path) -> Image.Image:
    """Return the right part of ``predictions.png``."""
    sheet = Image.open(work_dir / 'predictions.png').convert('RGB')
    width = min(sheet.width, round(sheet.height * SIZE[0] / SIZE[1]))
    return sheet.crop((sheet.width - width, 0, sheet.width, sheet.height))


def report(work_dir: Path) -> Image.Image:
    """Return the top of ``report.html``."""
    browser = next(filter(None, map(shutil.which, ('chromium', 'google-chrome'))), None)
    if browser is None:
        raise FileNotFoundError('chromium or google-chrome is needed to render report.html')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'report.png'
        options = ('--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars')
        shape = f'--window-size={_WINDOW[0]},{_WINDOW[1]}'
        page = (work_dir / 'report.html').resolve().as_uri()
        command = [browser, *options, shape, f'--screenshot={path}', page]
        subprocess.run(command, check=True, capture_output=True)
        return Image.open(path).convert('RGB')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('work_dir', type=Path, help='work dir of the demo')
    work_dir = parser.parse_args().work_dir
    IMAGES.mkdir(exist_ok=True)
    predictions(work_dir).resize(SIZE).save(IMAGES / 'predictions.jpg', quality=82, optimize=True)
    report(work_dir).resize(SIZE).quantize(64).save(IMAGES / 'report.png', optimize=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
