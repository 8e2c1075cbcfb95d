"""Write images and videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from convnext_mm.inference.sources import Frame, frame_rate
from convnext_mm.visualization.image_files import write_image


class DrawnFiles:
    """Write drawn images as JPEG files, and the drawn frames of a video as one MP4 file.

    Where OpenCV has no MP4 encoder, frames become JPEG files in a folder named after the video.

    Args:
        folder: The folder to write to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._video: cv2.VideoWriter | None = None
        self._video_path: Path | None = None

    def add(self, frame: Frame, name: str, drawn: np.ndarray) -> Path:
        """Write a drawn frame and return the path of its file.

        Args:
            frame: The frame that was drawn on. Frames of one video follow each other.
            name: File name without suffix.
            drawn: (H, W, 3) uint8 RGB.
        """
        if frame.index is None:
            return write_image(drawn[..., ::-1], self.folder / f'{name}.jpg')
        path = self.folder / f'{name}.mp4'
        if path != self._video_path:
            self.close()
            self._video = _open_video(path, frame_rate(frame.path), drawn.shape[:2])
            self._video_path = path
        if not self._video.isOpened():
            return write_image(drawn[..., ::-1], self.folder / name / f'{frame.index:06d}.jpg')
        self._video.write(np.ascontiguousarray(drawn[..., ::-1]))
        return path

    def close(self) -> None:
        """Finish the open video. An unfinished MP4 file cannot be played."""
        if self._video:
            self._video.release()
        self._video = self._video_path = None


def _open_video(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    return cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, (width, height))
