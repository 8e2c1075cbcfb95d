"""Write a page on a data set before training: problems, classes, sizes and sample images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from convnext_mm.datasets.own.check import CheckedData, verdict
from convnext_mm.datasets.own.coco.annotations import CocoAnnotations
from convnext_mm.datasets.own.label_maps.pairs import LabelMaps
from convnext_mm.datasets.own.statistics import Statistics, statistics
from convnext_mm.evaluation.report import plots
from convnext_mm.evaluation.report.detection_scores import AREA_LIMITS
from convnext_mm.evaluation.report.gallery import (
    Draw,
    ImageStore,
    coloured,
    css_colours,
    filters,
    gallery,
    outline,
    read_scaled,
    scaled,
)
from convnext_mm.evaluation.report.html import write_page
from convnext_mm.messages.wording import counted, percent
from convnext_mm.visualization.image_files import read_label_map
from convnext_mm.visualization.palette import palette, palette_without_background

_SAMPLES = 48  # images on the page
_SMALL = AREA_LIMITS[0] ** 0.5  # px


def write_data_page(checked: CheckedData, path: str | Path) -> Path:
    """Write a page on a data set that was read and checked, and return its path."""
    path = Path(path)
    numbers = statistics(checked)
    train = numbers['train']
    unit = 'regions' if checked.labels else 'objects'
    colours = _colours(checked)
    sizes = np.concatenate([s.object_sizes() for s in numbers.values()])
    images = np.concatenate([s.image_sizes for s in numbers.values()])
    per_image = np.concatenate([s.objects_by_image for s in numbers.values()])
    total = int(per_image.sum())
    return write_page(
        path,
        'data.html.j2',
        title=checked.layout.root.resolve().name,
        kind=checked.kind,
        verdict=verdict(checked),
        headlines=[
            ('images', f'{len(images):,}'),
            (unit, f'{total:,}'),
            ('classes', f'{len(train.classes):,}'),
            (f'images without {unit}', f'{int((per_image == 0).sum()):,}'),
        ],
        highlights=list(_highlights(train, unit)),
        notes=checked.notes,
        findings=checked.findings,
        unit=unit,
        splits=numbers,
        classes=_classes(numbers),
        label_maps=checked.labels is not None,
        sizes=plots.data_sizes(sizes, per_image, unit) if total else None,
        image_sizes=plots.image_sizes(images[(images > 0).all(1)]) if images.all(1).any() else None,
        samples=_samples(checked, train, colours, path.parent),
        filters=filters(train.classes, {}, 0.0) | dict(colours=css_colours(colours)),
    )


def _colours(checked: CheckedData) -> list:
    meta: dict = dict(classes=checked.classes)
    if checked.labels:
        return palette_without_background(meta | dict(palette=checked.labels.palette))
    return palette(meta)


def _highlights(train: Statistics, unit: str) -> Iterator[str]:
    """Write the main facts on the training split as sentences."""
    counts = train.objects_by_class
    if not counts.sum():
        return
    if (counts > 0).sum() > 1:
        rare, frequent = (
            f'{train.classes[i]} ({counted(int(counts[i]), unit[:-1])} in '
            f'{counted(int(train.images_by_class[i]), "image")})'
            for i in (np.where(counts, counts, counts.max()).argmin(), counts.argmax())
        )
        yield f'The rarest class in the training split is {rare}, the most frequent {frequent}.'
    sizes = train.object_sizes()
    small = f'{percent((sizes < _SMALL).mean())}% are below {_SMALL:.0f} px'
    yield (
        f'Half of the {unit} are smaller than {np.median(sizes):.0f} px, as the square root of the '
        f'area, and {small}, small ones for COCO.'
    )


def _classes(numbers: Mapping[str, Statistics]) -> list[dict]:
    """Return the rows of the table of classes, one cell of each kind for each split."""
    columns = {
        split: list(zip(s.objects_by_class.tolist(), s.images_by_class.tolist()))
        for split, s in numbers.items()
    }
    train = numbers['train']
    sizes, pixels = train.object_sizes(), train.pixels_by_class
    rows = []
    for label, name in enumerate(train.classes):
        own = sizes[train.labels == label]
        rows.append(
            dict(
                name=name,
                counts=[cells[label] for cells in columns.values() if label < len(cells)],
                size=float(np.median(own)) if len(own) else -1.0,
                share=float(pixels[label] / max(pixels.sum(), 1)),
            )
        )
    return rows


def _samples(checked: CheckedData, train: Statistics, colours: list, folder: Path) -> list[dict]:
    """Return the data of training images: some of each class, rare classes first, then others."""
    order = np.random.default_rng(0).permutation(len(train.files)).tolist()
    of_each = max(1, _SAMPLES // (2 * len(train.classes)))
    chosen: list[int] = []
    for label in np.argsort(train.objects_by_class, kind='stable'):
        with_class = {*train.images[train.labels == label].tolist()}
        chosen += [number for number in order if number in with_class][:of_each]
    numbers = list(dict.fromkeys([*chosen, *order]))[:_SAMPLES]
    if isinstance(checked.splits['train'], LabelMaps):
        draw = _draw_maps(checked, train, colours)
    else:
        draw = _draw_objects(checked.splits['train'], train)
    return gallery(dict.fromkeys(numbers, 0.0), draw, folder)


def _draw_objects(coco: CocoAnnotations, train: Statistics) -> Draw:
    labels = {category['id']: label for label, category in enumerate(coco.content['categories'])}
    by_image: dict[object, list[dict]] = {}
    for obj in coco.content['annotations']:
        by_image.setdefault(obj['image_id'], []).append(obj)

    def draw(number: int, store: ImageStore, outlined: bool) -> dict | None:
        loaded = read_scaled(str(train.files[number]), store.width)
        if loaded is None:
            return None
        image, scale = loaded
        shapes = []
        for obj in by_image.get(coco.content['images'][number]['id'], ()):
            if obj['category_id'] in labels and obj.get('bbox'):
                kind = 'crowd' if obj.get('iscrowd') else 'found'
                shapes.append([labels[obj['category_id']], kind, 0, scaled(obj['bbox'], scale)])
                if mask := obj.get('segmentation'):
                    shapes[-1].append(_mask_outline(mask, scale))
        return dict(
            name=train.files[number].name,
            caption=counted(len(shapes), 'object'),
            src=store.add(image),
            size=list(image.shape[1::-1]),
            panes=[shapes],
        )

    return draw


def _mask_outline(mask: list | dict, scale: float) -> str:
    if isinstance(mask, list):  # polygons
        rings = (np.reshape(polygon, (-1, 2)) * scale for polygon in mask)
        return ''.join('M' + ' '.join(f'{x:.1f},{y:.1f}' for x, y in r) + 'Z' for r in rings)
    if isinstance(mask['counts'], list):
        mask = rle.frPyObjects(mask, *mask['size'])
    return outline(rle.decode(mask), scale)


def _draw_maps(checked: CheckedData, train: Statistics, colours: list) -> Draw:
    maps: LabelMaps = checked.splits['train']

    def draw(number: int, store: ImageStore, outlined: bool) -> dict | None:
        loaded = read_scaled(str(train.files[number]), store.width)
        ids = read_label_map(maps.label_map(maps.stems[number]))
        if loaded is None or ids is None:
            return None
        image, _ = loaded
        labels = ids - checked.labels.ids[0]
        labels[labels < 0] = len(colours)  # no class
        found = train.labels[train.images == number]
        return dict(
            name=train.files[number].name,
            caption=counted(len(found), 'class'),
            src=store.add(image),
            size=list(image.shape[1::-1]),
            maps=[store.add(coloured(labels, colours, image.shape[1::-1]), '.png')],
            classes=sorted(map(int, found)),
        )

    return draw
