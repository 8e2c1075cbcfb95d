"""Find the files that a user names, and read videos as frames."""

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

# Only these files of a folder are read. A file that the user names is read with any suffix.
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm', '.wmv')
# FFmpeg prints its own errors about a broken file; `predict` already reports each one once.
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '8')


@dataclass(frozen=True)
class Frame:
    """An image, or one frame of a video.

    Attributes:
        path: The file.
        image: (H, W, 3) BGR, as the config's own loader reads it.
        index: The number of a video frame, starting at 0; None for an image file.
    """

    path: Path
    image: np.ndarray
    index: int | None = None

    def rgb(self) -> np.ndarray:
        """Return the image as (H, W, 3) uint8 RGB, for drawing."""
        image = self.image[..., None] if self.image.ndim == 2 else self.image
        if image.shape[2] != 3:  # another number of channels: show the first one in grey
            image = np.repeat(image[..., :1], 3, axis=2)
        return np.ascontiguousarray(np.clip(image[..., ::-1], 0, 255).astype(np.uint8))


def find_files(sources: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the files that paths, folders and globs name, in that order, each file once.

    Files of a folder or a glob (``**`` is allowed) are in natural order: ``2.jpg``, ``10.jpg``.

    Raises:
        UserError: A source does not exist, or a folder has no images and no videos.
    """
    found: dict[Path, None] = {}
    for source in [sources] if isinstance(sources, (str, Path)) else sources:
        path = Path(source).expanduser()
        if path.is_dir():
            suffixes = IMAGE_SUFFIXES + VIDEO_SUFFIXES
            files = [p for p in path.iterdir() if p.suffix.lower() in suffixes]
            if not files:
                raise UserError(
                    f'{source}: no images or videos in this folder. Subfolders are not searched; '
                    f"to include them, give '{path / '**' / '*.jpg'}'"
                )
        elif path.exists():
            files = [path]
        else:
            files = [Path(name) for name in glob.glob(str(path), recursive=True)]
            files = [file for file in files if file.is_file()]
            if not files:
                raise UserError(f'{source}: no such file or folder')
        found.update(dict.fromkeys(sorted(files, key=_natural_key)))
    return list(found)


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_video(path: Path) -> Iterator[Frame]:
    """Yield the frames of a video. OpenCV applies the rotation that the file states.

    Raises:
        OSError: OpenCV cannot open the file, or it has no frames.
    """
    video = _open(path)
    try:
        index = 0
        while True:
            success, image = video.read()
            if not success:
                break
            yield Frame(path, image, index)
            index += 1
    finally:
        video.release()
    if not index:
        raise OSError('OpenCV cannot decode it as a video')


def frame_rate(path: Path) -> float:
    """Return the frames per second of a video; 25 if the file does not state them."""
    return _property(path, cv2.CAP_PROP_FPS) or 25.0


def count_frames(path: Path) -> int:
    """Return the number of frames that a video states; 1 for an image."""
    return max(1, int(_property(path, cv2.CAP_PROP_FRAME_COUNT))) if is_video(path) else 1


def reason_unread(path: Path, error: Exception) -> str:
    """Say why a file could not be read, from the error of its decoder."""
    if path.is_file() and not path.stat().st_size:
        return 'the file is empty'
    if isinstance(error, (AssertionError, cv2.error)):  # from MMCV's loader if OpenCV fails
        return 'OpenCV cannot decode it as an image'
    return getattr(error, 'strerror', None) or str(error).partition('\n')[0]


def _open(path: Path) -> cv2.VideoCapture:
    """Open a video. OpenCV ends the process if the name of the file is no UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return cv2.VideoCapture()  # which has no frames
    return cv2.VideoCapture(str(path))


def _property(path: Path, which: int) -> float:
    video = _open(path)
    value = video.get(which)
    video.release()
    return value if np.isfinite(value) and value > 0 else 0.0


def _natural_key(path: Path) -> list[str | int]:
    parts = re.split(r'(\d+)', str(path))
    return [int(part) if part.isdigit() else part for part in parts]
