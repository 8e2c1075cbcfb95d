"""The prediction for one image: objects or a label map, as arrays and as a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from convnext_mm.messages.wording import counted, listed
from convnext_mm.visualization.drawing import draw_instances, draw_labels
from convnext_mm.visualization.image_files import write_image
from convnext_mm.visualization.palette import Colour, instance_colours

_LISTED = 5


@dataclass(frozen=True, eq=False)
class Prediction(ABC):
    """The prediction for one image. A notebook shows it as a picture.

    Attributes:
        image: The image, (H, W, 3) uint8 RGB.
        classes: The names of all classes of the model.
    """

    image: np.ndarray
    classes: tuple[str, ...]

    @abstractmethod
    def draw(self) -> np.ndarray:
        """Draw the prediction on a copy of the image; return (H, W, 3) uint8 RGB."""

    @abstractmethod
    def _described(self) -> str: ...

    def save(self, path: str | Path) -> Path:
        """Write the drawn image in the format of the suffix, and return the path.

        Raises:
            OSError: The suffix is no image format, or the file cannot be written.
        """
        return write_image(self.draw()[..., ::-1], Path(path))

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f'<{type(self).__name__}: {self._described()}; image {width} x {height}>'

    def _repr_jpeg_(self) -> bytes:
        """Return the picture for a notebook."""
        _, data = cv2.imencode('.jpg', self.draw()[..., ::-1])
        return data.tobytes()


@dataclass(frozen=True, eq=False, repr=False)
class Detections(Prediction):
    """The objects in one image, the highest score first.

    Attributes:
        boxes: (K, 4) float32: x1, y1, x2, y2 in pixels of the image.
        scores: (K,) float32, from 0 to 1.
        labels: (K,) int64, indices of `classes`.
        masks: (K, H, W) bool; None if the model predicts no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.classes[label] for label in self.labels]

    def draw(self) -> np.ndarray:
        return draw_instances(
            self.image,
            self.boxes,
            self.labels,
            self.classes,
            instance_colours(self.scores),
            self.masks,
            self.scores,
        )

    def _described(self) -> str:
        kinds = [f'{count} {name}' for name, count in Counter(self.names).most_common()]
        return counted(len(self), 'object') + (f' ({listed(kinds, _LISTED)})' if kinds else '')


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(Prediction):
    """The class of each pixel of one image.

    Attributes:
        label_map: (H, W) int64, indices of `classes`.
        scores: (H, W) float32, from 0 to 1: the softmax of the model's output for this class.
        palette: The colour (R, G, B) of each class.
    """

    label_map: np.ndarray
    scores: np.ndarray
    palette: list[Colour]

    @cached_property
    def names(self) -> list[str]:
        """The names of the classes in the label map, the largest area first."""
        areas = np.bincount(self.label_map.ravel(), minlength=len(self.classes))
        present = np.argsort(-areas, kind='stable')[: np.count_nonzero(areas)]
        return [self.classes[label] for label in present]

    def draw(self) -> np.ndarray:
        return draw_labels(self.image, self.label_map, self.classes, self.palette)

    def _described(self) -> str:
        return f'{counted(len(self.names), "class")} ({listed(self.names, _LISTED)})'
