"""Predictions as a COCO file or label maps, and drawn on the pictures."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from pycocotools import mask as rle

from convnext_mm.inference.pictures import Pictures, save
from convnext_mm.inference.sources import Frame
from convnext_mm.visualization.drawing import draw_instances, draw_labels
from convnext_mm.visualization.palette import palette

# COCO's 80 classes have ids up to 90, with these left out.
_COCO_CLASSES = ('person', 'toothbrush', 80)  # first, last, number
_NO_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


class Results(ABC):
    """Collects predictions and writes them below a folder. Use it in a ``with``.

    ``results.json`` is written on leaving, also when an error ends it early: it says what was done.

    Args:
        folder: Where everything goes; what is there under the same names is replaced.
        meta: `classes` and perhaps `palette`.
        pictures: Whether to write what was predicted drawn on the pictures.
    """

    def __init__(self, folder: Path, meta: Mapping, pictures: bool = True) -> None:
        self.folder = folder
        self.classes = tuple(meta['classes'])
        self.palette = palette(meta)
        self.images: list[dict] = []
        self._pictures = Pictures(folder / 'pictures') if pictures else None
        self._names: dict[Path, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pictures:
            self._pictures.close()
        text = json.dumps(self._as_dict(), ensure_ascii=False)
        (self.folder / 'results.json').write_text(text, encoding='utf-8')

    def add(self, frame: Frame, sample: BaseDataElement) -> None:
        """Take the prediction for a picture or a frame of a film; frames in their order."""
        name = self._name(frame)
        height, width = frame.image.shape[:2]
        image = dict(id=len(self.images) + 1, file_name=str(frame.path), width=width, height=height)
        if frame.index is not None:
            image['frame'] = frame.index
        self.images.append(image)
        prediction = self._record(image, name, sample)
        if self._pictures:
            drawn = self._draw(frame.rgb(), prediction)
            path = self._pictures.add(frame, name, drawn)
            image['picture'] = path.relative_to(self.folder).as_posix()

    @abstractmethod
    def _record(self, image: dict, name: str, sample: BaseDataElement) -> object:
        """Keep or write a prediction for an entry of `images`; return what is to be drawn."""

    @abstractmethod
    def _draw(self, image: np.ndarray, prediction: object) -> np.ndarray: ...

    @abstractmethod
    def _as_dict(self) -> dict: ...

    def _name(self, frame: Frame) -> str:
        """The file's name without suffix, or with a number where two files have the same."""
        if frame.path not in self._names:
            name = frame.path.stem
            taken = {name.casefold() for name in self._names.values()}
            number = 2
            while name.casefold() in taken:
                name = f'{frame.path.stem}_{number}'
                number += 1
            self._names[frame.path] = name
        return self._names[frame.path]


class CocoResults(Results):
    """Objects, as a COCO file: `images`, `annotations` that have a `score`, `categories`.

    ``COCO('results.json')`` reads it, and its ``annotations`` are what ``loadRes`` takes. Boxes are
    x, y, width, height in pixels, masks run lengths. The categories of COCO have COCO's ids,
    others are numbered from 1.

    Args:
        score_thr: Objects below this score are left out, of the file as of the pictures.
    """

    def __init__(
        self, folder: Path, meta: Mapping, pictures: bool = True, score_thr: float = 0.3
    ) -> None:
        super().__init__(folder, meta, pictures)
        self.score_thr = score_thr
        self.category_ids = _category_ids(self.classes)
        self.annotations: list[dict] = []

    def _record(self, image: dict, name: str, sample: BaseDataElement) -> InstanceData:
        found = sample.pred_instances
        found = found[found.scores >= self.score_thr]
        found = InstanceData(**{key: value.numpy() for key, value in found.items()})
        masks = found.get('masks')
        for i in range(len(found)):
            x1, y1, x2, y2 = (round(float(value), 2) for value in found.bboxes[i])
            w, h = round(x2 - x1, 2), round(y2 - y1, 2)
            annotation = dict(
                id=len(self.annotations) + 1,  # COCO's matching takes id 0 for "no match"
                image_id=image['id'],
                category_id=self.category_ids[found.labels[i]],
                bbox=[x1, y1, w, h],
                area=round(w * h, 2),
                iscrowd=0,
                score=round(float(found.scores[i]), 5),
            )
            if masks is not None:
                runs = rle.encode(np.asfortranarray(masks[i], np.uint8))
                annotation['area'] = int(rle.area(runs))
                annotation['segmentation'] = dict(size=runs['size'], counts=runs['counts'].decode())
            self.annotations.append(annotation)
        return found

    def _draw(self, image: np.ndarray, prediction: InstanceData) -> np.ndarray:
        return draw_instances(
            image,
            prediction.bboxes,
            prediction.labels,
            self.classes,
            self.palette,
            prediction.get('masks'),
            prediction.scores,
        )

    def _as_dict(self) -> dict:
        categories = [
            dict(id=number, name=name) for number, name in zip(self.category_ids, self.classes)
        ]
        return dict(images=self.images, annotations=self.annotations, categories=categories)


class LabelMaps(Results):
    """A grey PNG for each picture with the index of each pixel's class, from 0 on.

    ``results.json`` has the `images`, each with its `label_map`, and as `categories` the name and
    colour of each index. ADE20K's own files count from 1.
    """

    def _record(self, image: dict, name: str, sample: BaseDataElement) -> np.ndarray:
        labels = sample.pred_sem_seg.data[0].numpy()
        path = self.folder / 'label_maps' / name
        path = (
            path / f'{image["frame"]:06d}.png'
            if 'frame' in image
            else path.with_name(f'{name}.png')
        )
        save(labels.astype(np.uint8 if len(self.classes) <= 256 else np.uint16), path)
        image['label_map'] = path.relative_to(self.folder).as_posix()
        return labels

    def _draw(self, image: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return draw_labels(image, prediction, self.classes, self.palette)

    def _as_dict(self) -> dict:
        categories = [
            dict(id=index, name=name, color=colour)
            for index, (name, colour) in enumerate(zip(self.classes, self.palette))
        ]
        return dict(images=self.images, categories=categories)


def _category_ids(classes: tuple[str, ...]) -> list[int]:
    if (classes[0], classes[-1], len(classes)) == _COCO_CLASSES:
        return [number for number in range(1, 91) if number not in _NO_COCO_IDS]
    return list(range(1, len(classes) + 1))
