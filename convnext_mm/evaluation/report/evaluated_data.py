"""The data of an evaluation: classes, annotations and predictions."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from pycocotools.coco import COCO

from convnext_mm.config.nodes import coco_evaluator, evaluators, leaf_datasets, type_name
from convnext_mm.datasets.files import check_data
from convnext_mm.errors import UserError
from convnext_mm.evaluation.coco_ap import category_ids, read_annotations
from convnext_mm.evaluation.detections import Detections
from convnext_mm.evaluation.results import coco_json, label_maps, pickled
from convnext_mm.evaluation.results.checks import check_labels, check_masks, check_numbers
from convnext_mm.messages.commands import command
from convnext_mm.messages.wording import first_line

# The predictions of a test: a file or folder, or one dict for each image.
Predictions = Path | Sequence[dict]


@dataclass(frozen=True)
class DetectionData:
    """Ground truth and predictions of a detector.

    Attributes:
        classes: Names in the order of the labels.
        api: The annotation file.
        cat_ids: The category ids of the annotation file in the order of the labels.
        found: The detections.
        paths: Image files by image id.
    """

    classes: tuple[str, ...]
    api: COCO
    cat_ids: list[int]
    found: Detections
    paths: dict[Hashable, str]

    @property
    def has_masks(self) -> bool:
        annotations, known = self.api.dataset.get('annotations', ()), set(self.cat_ids)
        return self.found.masks is not None and all(
            a.get('segmentation') for a in annotations if a['category_id'] in known
        )


def read_detection_data(
    cfg: Config, predictions: Predictions, classes: Sequence[str], split: str
) -> DetectionData:
    """Read the annotation file of ``test`` or ``val`` and pair it with the predictions.

    Raises:
        UserError: The evaluator in the config names no annotation file, or it does not fit.
    """
    evaluator = coco_evaluator(cfg, split, 'the report')
    api = read_annotations(evaluator.ann_file, evaluator.get('sort_categories', False))
    cat_ids = category_ids(api, classes)
    if not isinstance(predictions, Path) or predictions.suffix in pickled.SUFFIXES:
        found, paths = _from_records(predictions, api, len(classes))
    elif _holds_label_maps(predictions):
        raise UserError(
            f'{predictions}: a folder or .zip has the results of a segmentor. The config is for a '
            'detector: its results are a .json or .pkl file'
        )
    else:
        images = [image for _, _, image in _images(cfg, split)]
        paths = {image['img_id']: image['img_path'] for image in images}
        found = coco_json.read(predictions, api.imgs, api.cats, cat_ids, paths)
        paths = {image: paths.get(image, '') for image in found.tested}
        masks_wanted = any('segm' in e.get('metric', ()) for e in evaluators(cfg, split))
        if not len(found) and masks_wanted:
            found = replace(found, masks=[])  # an empty list does not tell what was predicted
    return DetectionData(tuple(classes), api, cat_ids, found, paths)


def _from_records(
    predictions: Predictions, api: COCO, classes: int
) -> tuple[Detections, dict[Hashable, str]]:
    """Convert predictions with one dict for each image."""
    records = _records(predictions)
    if not all('pred_instances' in record for record in records):
        raise UserError(
            'the predictions contain no detections: check that they belong to this config'
        )
    name = f'{predictions}: ' if isinstance(predictions, Path) else ''
    try:
        found = Detections.of([dict(r['pred_instances'], img_id=r['img_id']) for r in records])
        check_labels(found, api.imgs, classes, f'{name}detection')
        if isinstance(predictions, Path):
            check_numbers(found, f'{name}detection')
            check_masks(found, api.imgs, f'{name}detection')
        return found, {r['img_id']: str(r.get('img_path', '')) for r in records}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f'{name}the predictions have another form than {command("test")} writes: '
            f'{first_line(error)}'
        ) from error


def read_label_maps(
    cfg: Config, predictions: Predictions, classes: Sequence[str], split: str
) -> Sequence[dict]:
    """Return a record for each image of a segmentation test, with ground truth and prediction.

    Raises:
        UserError: The predictions hold something else, or do not belong to the config.
    """
    if not isinstance(predictions, Path) or predictions.suffix in pickled.SUFFIXES:
        return _records(predictions)
    if not _holds_label_maps(predictions):
        raise UserError(
            f'{predictions}: the results of a segmentor are a folder or .zip file with label maps'
        )
    images = list(_images(cfg, split, with_truth=True))

    def truth(number: int) -> np.ndarray:
        dataset, index, image = images[number]
        try:
            return dataset.prepare_data(index)['gt_seg_map']
        except Exception as error:  # the steps of a config can raise errors of any type
            raise UserError(
                f'the ground truth of {image["img_path"]} cannot be read: {error}'
            ) from error

    paths = [image['img_path'] for _, _, image in images]
    return label_maps.read(predictions, paths, truth, classes)


def _records(predictions: Predictions) -> Sequence[dict]:
    return pickled.read(predictions) if isinstance(predictions, Path) else predictions


def _holds_label_maps(path: Path) -> bool:
    return path.is_dir() or path.suffix == '.zip'


def _images(
    cfg: Config, split: str, with_truth: bool = False
) -> Iterator[tuple[BaseDataset, int, dict]]:
    """Yield each image of the data sets of ``test`` or ``val``: its data set, number and entry."""
    loader = f'{split}_dataloader'
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    check_data(cfg, [loader])
    for leaf in leaf_datasets(cfg[loader]):
        steps = [t for t in leaf.get('pipeline', ()) if 'Annotations' in type_name(t)]
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
            dataset = DATASETS.build(ConfigDict(leaf, pipeline=steps if with_truth else []))
        for index in range(len(dataset)):
            yield dataset, index, dataset.get_data_info(index)
