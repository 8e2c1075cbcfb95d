"""Write repaired annotations and new splits; the files of the user stay unchanged."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from convnext_mm.datasets.own.check import CheckedData
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations
from convnext_mm.datasets.own.label_maps.pairs import LabelMaps
from convnext_mm.datasets.own.splitting import choose_validation
from convnext_mm.visualization.palette import Colour, palette

# The smallest anchors of the recipes, 22 x 45 px, may not fit into an image that is smaller or
# narrower, before or after it is resized.
_SMALL = 64  # px, the shorter side
_NARROW = 20  # the longer side divided by the shorter one


@dataclass(frozen=True)
class PreparedSplit:
    """The files that a data loader reads.

    Attributes:
        images: The folder of the images.
        annotations: The COCO JSON, or the folder of label maps.
        image_count: The number of images.
        annotated_count: The number of images that have objects.
        stems_file: For label maps, a file that lists the images by stem; None for all images in
            the folder.
    """

    images: Path
    annotations: Path
    image_count: int
    annotated_count: int
    stems_file: Path | None = None


@dataclass(frozen=True)
class PreparedData:
    """A checked data set with the settings that configs need.

    Attributes:
        kind: ``coco`` or ``maps``.
        root: The folder of the user.
        classes: The names of the classes.
        palette: A colour (R, G, B) for each class.
        splits: ``train``, ``val`` and ``test``.
        with_masks: Whether the objects have masks, or boxes only.
        with_small_images: Whether an image may be too small or too narrow to have an anchor inside.
        image_suffix, map_suffix, reduce_zero_label: The settings of MMSegmentation's data sets.
    """

    kind: str
    root: Path
    classes: tuple[str, ...]
    palette: list[Colour]
    splits: dict[str, PreparedSplit]
    with_masks: bool = True
    with_small_images: bool = False
    image_suffix: str = '.jpg'
    map_suffix: str = '.png'
    reduce_zero_label: bool = False


def write_data(checked: CheckedData, folder: Path) -> PreparedData:
    """Write what differs from the files of the user, and return where each split is.

    Args:
        checked: A data set without errors.
        folder: Where to write repaired annotations and splits that were made.
    """
    labels, layout = checked.labels, checked.layout
    splits = (_write_maps if labels else _write_coco)(checked.splits, folder)
    splits.setdefault('test', splits['val'])
    data = dict(kind=layout.kind, root=layout.root, classes=checked.classes, splits=splits)
    if not labels:
        with_masks = any(split.objects_with_mask for split in checked.splits.values())
        return PreparedData(
            palette=palette(len(checked.classes)),
            with_masks=with_masks,
            with_small_images=any(map(_has_small_images, checked.splits.values())),
            **data,
        )
    train = checked.splits['train']
    return PreparedData(
        palette=list(labels.palette) or palette(len(checked.classes)),
        image_suffix=train.image_suffix,
        map_suffix=train.map_suffix,
        reduce_zero_label=labels.reduce_zero_label,
        **data,
    )


def write_atomically(path: Path, text: str) -> None:
    """Write a file under a temporary name first: several processes may write the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_text(text, encoding='utf-8')
    os.replace(temporary, path)


def _write_coco(splits: dict[str, CocoAnnotations], folder: Path) -> dict[str, PreparedSplit]:
    splits = splits if 'val' in splits else split_coco(splits['train'])
    prepared: dict[str, PreparedSplit] = {}
    for split, coco in splits.items():
        same = next((s for s in prepared if splits[s] is coco), None)
        if same:
            prepared[split] = prepared[same]
            continue
        path = coco.paths.annotations
        if coco.repaired:
            path = folder / f'{split}.json'
            write_atomically(path, json.dumps(coco.content))
        counts = len(coco.content['images']), len(coco.ids_with_objects)
        prepared[split] = PreparedSplit(coco.paths.images, path, *counts)
    return prepared


def split_coco(coco: CocoAnnotations) -> dict[str, CocoAnnotations]:
    """Set validation images aside."""
    ids = {image['id'] for image in coco.content['images']}
    used = coco.ids_with_single_objects
    val = choose_validation(list(used), list(ids - used))
    return {'train': coco.with_images(ids - val), 'val': coco.with_images(val)}


def _has_small_images(coco: CocoAnnotations) -> bool:
    sides = (sorted((image['width'], image['height'])) for image in coco.content['images'])
    return any(short < _SMALL or short * _NARROW < long for short, long in sides)


def _write_maps(splits: dict[str, LabelMaps], folder: Path) -> dict[str, PreparedSplit]:
    stems = {split: maps.stems for split, maps in splits.items()}
    if 'val' not in splits:
        train = splits['train']
        val = choose_validation(train.labelled, list(train.unlabelled))
        splits = {'train': train, 'val': train}
        stems = {
            'train': [stem for stem in train.stems if stem not in val],
            'val': [stem for stem in train.stems if stem in val],
        }
    prepared = {}
    for split, maps in splits.items():
        stems_file, count = None, len(stems[split])
        if count < len(maps.stems) or not maps.all_in_folder:
            stems_file = folder / f'{split}.txt'
            write_atomically(stems_file, '\n'.join(stems[split]) + '\n')
        images, annotations = maps.paths.images, maps.paths.annotations
        prepared[split] = PreparedSplit(images, annotations, count, count, stems_file)
    return prepared
