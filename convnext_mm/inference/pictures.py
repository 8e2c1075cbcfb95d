"""Writing pictures and films."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from convnext_mm.inference.sources import Frame, frame_rate


class Pictures:
    """Writes drawn pictures as JPEGs, and the frames of a film as an MP4.

    Where OpenCV has no encoder for MP4, frames become JPEGs in a folder of the film's name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._film: cv2.VideoWriter | None = None
        self._film_path: Path | None = None

    def add(self, frame: Frame, name: str, drawn: np.ndarray) -> Path:
        """Write an RGB picture and return the path of its file."""
        if frame.index is None:
            return save(drawn[..., ::-1], self.folder / f'{name}.jpg')
        path = self.folder / f'{name}.mp4'
        if path != self._film_path:
            self.close()
            self._film = _open_film(path, frame_rate(frame.path), drawn.shape[:2])
            self._film_path = path
        if not self._film.isOpened():
            return save(drawn[..., ::-1], self.folder / name / f'{frame.index:06d}.jpg')
        self._film.write(np.ascontiguousarray(drawn[..., ::-1]))
        return path

    def close(self) -> None:
        """Finish a film that is being written; without that it cannot be played."""
        if self._film:
            self._film.release()
        self._film = self._film_path = None


def save(image: np.ndarray, path: Path) -> Path:
    """Write a BGR or grey image; unlike ``cv2.imwrite``, to any name on any system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(image))
    if not done:
        raise OSError(f'{path}: OpenCV cannot encode it')
    path.write_bytes(data)
    return path


def _open_film(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    return cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, (width, height))
