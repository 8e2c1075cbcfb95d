"""Read images for drawings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def read_bgr(path: str | Path) -> np.ndarray | None:
    """Return an image, (H, W, 3) uint8 BGR; None if it is missing or no image.

    ``cv2.imread`` ends the process if the name of the file is no UTF-8; this function does not.
    """
    try:
        if not Path(path).is_file():  # but a device, for example
            return None
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):  # OpenCV refuses an empty file
        return None
