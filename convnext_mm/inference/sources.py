"""What a user names on the command line, as paths, and films as frames."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from convnext_mm.errors import UserError

# What is taken of a folder; a file that is named itself is tried whatever it is called.
IMAGES = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')
# FFmpeg prints what it dislikes of a file; that a file cannot be read is said once, by us.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '8')


@dataclass(frozen=True)
class Frame:
    """A picture as the model is to see it.

    Attributes:
        path: The file.
        image: (H, W, 3), BGR, as the config's own loader reads it.
        index: Its number in a film, from 0 on; None for a file that is a picture.
    """

    path: Path
    image: np.ndarray
    index: int | None = None

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, to draw on."""
        image = self.image[..., None] if self.image.ndim == 2 else self.image
        if image.shape[2] != 3:  # of a loader for other channels: the first one, as grey
            image = np.repeat(image[..., :1], 3, axis=2)
        return np.ascontiguousarray(np.clip(image[..., ::-1], 0, 255).astype(np.uint8))


def find(sources: Sequence[str]) -> list[Path]:
    """The files that paths, folders and globs (``**`` as well) name, in that order, each once.

    The files of a folder and of a glob are sorted as people count: ``2.jpg`` before ``10.jpg``.

    Raises:
        UserError: One of them names nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            files = [p for p in path.iterdir() if p.suffix.lower() in IMAGES + VIDEOS]
            if not files:
                raise UserError(
                    f'{source}: no pictures or videos in this folder; for those in folders below '
                    f"it, give '{path / '**' / '*.jpg'}'"
                )
        elif path.exists():
            files = [path]
        else:
            files = [Path(name) for name in glob.glob(str(path), recursive=True)]
            files = [file for file in files if file.is_file()]
            if not files:
                raise UserError(f'{source}: no such file or folder')
        found.update(dict.fromkeys(sorted(files, key=_as_counted)))
    return list(found)


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def frames(path: Path) -> Iterator[Frame]:
    """The frames of a video, upright.

    Raises:
        OSError: It cannot be opened, or has none.
    """
    video = cv2.VideoCapture(str(path))
    try:
        index = 0
        while True:
            there, image = video.read()
            if not there:
                break
            yield Frame(path, image, index)
            index += 1
    finally:
        video.release()
    if not index:
        raise OSError('no video that OpenCV can decode')


def frame_rate(path: Path) -> float:
    """Frames per second; 25 where the file does not say."""
    return _property(path, cv2.CAP_PROP_FPS) or 25.0


def count(path: Path) -> int:
    """How many frames a file has; of a video, as many as it says."""
    return max(1, int(_property(path, cv2.CAP_PROP_FRAME_COUNT))) if is_video(path) else 1


def _property(path: Path, which: int) -> float:
    video = cv2.VideoCapture(str(path))
    value = video.get(which)
    video.release()
    return value if np.isfinite(value) and value > 0 else 0.0


def _as_counted(path: Path) -> list[str | int]:
    parts = re.split(r'(\d+)', str(path))
    return [int(part) if part.isdigit() else part for part in parts]
