"""Write predictions: a COCO file or label maps, and drawings."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.structures import BaseDataElement, InstanceData

from convnext_mm.inference.drawn_files import DrawnFiles
from convnext_mm.inference.sources import Frame
from convnext_mm.visualization.drawing import draw_instances, draw_labels
from convnext_mm.visualization.image_files import write_image
from convnext_mm.visualization.palette import instance_colours, palette

# COCO numbers its 80 classes up to 90 and leaves these ids out.
_COCO_CLASSES = ('person', 'toothbrush', 80)  # first, last, number
_NO_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


class ResultWriter(ABC):
    """Write predictions to a folder. Use it in a ``with`` statement.

    On exit it writes ``results.json``, also after an error, so that the file lists what was done.

    Args:
        folder: The folder to write to. Files of the same names are replaced.
        meta: `classes` and optionally `palette`.
        pictures: Whether to draw the predictions on the images.
    """

    def __init__(self, folder: Path, meta: Mapping, pictures: bool = True) -> None:
        self.folder = folder
        self.classes = tuple(meta['classes'])
        self.palette = palette(meta)
        self.images: list[dict] = []
        self._drawn = DrawnFiles(folder / 'pictures') if pictures else None
        self._names: dict[Path, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._drawn:
            self._drawn.close()
        text = json.dumps(self._as_dict(), ensure_ascii=False)
        # In a name that is no UTF-8, other bytes become escapes, as JSON has them.
        path = self.folder / 'results.json'
        path.write_text(text, encoding='utf-8', errors='backslashreplace')

    def add(self, frame: Frame, sample: BaseDataElement) -> None:
        """Write the prediction for an image or a video frame; frames of a video in their order."""
        name = self._name(frame)
        height, width = frame.image.shape[:2]
        image = dict(id=len(self.images) + 1, file_name=str(frame.path), width=width, height=height)
        if frame.index is not None:
            image['frame'] = frame.index
        self.images.append(image)
        prediction = self._record(image, name, sample)
        if self._drawn:
            path = self._drawn.add(frame, name, self._draw(frame, prediction))
            image['picture'] = path.relative_to(self.folder).as_posix()

    @abstractmethod
    def _record(self, image: dict, name: str, sample: BaseDataElement) -> object:
        """Store the prediction for an entry of `images`; return what :meth:`_draw` needs."""

    @abstractmethod
    def _draw(self, frame: Frame, prediction: object) -> np.ndarray:
        """Return the frame with a prediction drawn on it, (H, W, 3) uint8 RGB."""

    @abstractmethod
    def _as_dict(self) -> dict:
        """Return the content of ``results.json``."""

    def _name(self, frame: Frame) -> str:
        """Return the file's stem, with a number if another file has the same stem."""
        if frame.path not in self._names:
            name = frame.path.stem
            taken = {name.casefold() for name in self._names.values()}
            number = 2
            while name.casefold() in taken:
                name = f'{frame.path.stem}_{number}'
                number += 1
            self._names[frame.path] = name
        return self._names[frame.path]


class CocoWriter(ResultWriter):
    """Write objects as a COCO file: `images`, `annotations` with a `score`, `categories`.

    ``COCO('results.json')`` reads the file, and ``COCO.loadRes`` accepts its ``annotations``. Boxes
    are x, y, width, height in pixels; masks are RLEs. COCO's classes keep COCO's category ids;
    other classes are numbered from 1.

    Args:
        folder, meta, pictures: See :class:`ResultWriter`.
        score_thr: Objects below this score are neither written nor drawn.
    """

    def __init__(
        self, folder: Path, meta: Mapping, pictures: bool = True, score_thr: float = 0.3
    ) -> None:
        super().__init__(folder, meta, pictures)
        self.score_thr = score_thr
        self.category_ids = _category_ids(self.classes)
        self.annotations: list[dict] = []

    def _record(self, image: dict, name: str, sample: BaseDataElement) -> InstanceData:
        objects = sample.pred_instances
        objects = objects[objects.scores >= self.score_thr]
        objects = InstanceData(**{key: value.numpy() for key, value in objects.items()})
        masks = objects.get('masks')
        for i in range(len(objects)):
            x1, y1, x2, y2 = (round(float(value), 2) for value in objects.bboxes[i])
            w, h = round(x2 - x1, 2), round(y2 - y1, 2)
            annotation = dict(
                id=len(self.annotations) + 1,  # COCO's matching reads id 0 as "no match"
                image_id=image['id'],
                category_id=self.category_ids[objects.labels[i]],
                bbox=[x1, y1, w, h],
                area=round(w * h, 2),
                iscrowd=0,
                score=round(float(objects.scores[i]), 5),
            )
            if masks is not None:
                annotation.update(_encode_mask(masks[i]))
            self.annotations.append(annotation)
        return objects

    def _draw(self, frame: Frame, prediction: InstanceData) -> np.ndarray:
        labels = prediction.labels
        if frame.index is None:
            colours = instance_colours(prediction.scores)
        else:  # The objects of two video frames are not connected, and their colours would flicker.
            colours = [self.palette[label] for label in labels]
        return draw_instances(
            frame.rgb(),
            prediction.bboxes,
            labels,
            self.classes,
            colours,
            prediction.get('masks'),
            prediction.scores,
        )

    def _as_dict(self) -> dict:
        categories = [
            dict(id=number, name=name) for number, name in zip(self.category_ids, self.classes)
        ]
        return dict(images=self.images, annotations=self.annotations, categories=categories)


class LabelMapWriter(ResultWriter):
    """Write a grey PNG for each image with the class index of each pixel, starting at 0.

    ``results.json`` has the `images`, each with its `label_map`, and as `categories` the name and
    colour of each index. The label files of ADE20K itself start at 1.
    """

    def _record(self, image: dict, name: str, sample: BaseDataElement) -> np.ndarray:
        labels = sample.pred_sem_seg.data[0].numpy()
        stem = f'{name}/{image["frame"]:06d}' if 'frame' in image else name
        path = self.folder / 'label_maps' / f'{stem}.png'
        write_image(labels.astype(np.uint8 if len(self.classes) <= 256 else np.uint16), path)
        image['label_map'] = path.relative_to(self.folder).as_posix()
        return labels

    def _draw(self, frame: Frame, prediction: np.ndarray) -> np.ndarray:
        return draw_labels(frame.rgb(), prediction, self.classes, self.palette)

    def _as_dict(self) -> dict:
        categories = [
            dict(id=index, name=name, color=colour)
            for index, (name, colour) in enumerate(zip(self.classes, self.palette))
        ]
        return dict(images=self.images, categories=categories)


def _encode_mask(mask: np.ndarray) -> dict:
    """Return the area and the RLE of an (H, W) mask as COCO writes them."""
    from pycocotools import mask as rle  # MMDetection installs it; a segmentor needs neither

    runs = rle.encode(np.asfortranarray(mask, np.uint8))
    segmentation = dict(size=runs['size'], counts=runs['counts'].decode())
    return dict(area=int(rle.area(runs)), segmentation=segmentation)


def _category_ids(classes: tuple[str, ...]) -> list[int]:
    if (classes[0], classes[-1], len(classes)) == _COCO_CLASSES:
        return [number for number in range(1, 91) if number not in _NO_COCO_IDS]
    return list(range(1, len(classes) + 1))
