"""Read and write images under any file name.

``cv2.imread`` and ``cv2.imwrite`` fail, and can end the process, if a file name is not UTF-8. Under
Windows they fail on every name that is not ASCII.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def read_bgr(path: str | Path) -> np.ndarray | None:
    """Return an image, (H, W, 3) uint8 BGR; None if it is missing or no image."""
    try:
        if not Path(path).is_file():  # but a device, for example
            return None
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):  # OpenCV refuses an empty file
        return None


def read_label_map(path: str | Path) -> np.ndarray | None:
    """Return the ids of a label map, (H, W) integers; None if it cannot be read."""
    try:
        with Image.open(path) as image:  # OpenCV would read the colours of a palette, not its ids
            return np.array(image).astype(int)
    except (OSError, ValueError, SyntaxError):
        return None


def write_image(image: np.ndarray, path: Path) -> Path:
    """Write a BGR or grey image in the format of the suffix, and return its path.

    Raises:
        OSError: OpenCV cannot encode the image, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(image))
    if not encoded:
        raise OSError(f'{path}: OpenCV cannot encode the image')
    path.write_bytes(data)
    return path
