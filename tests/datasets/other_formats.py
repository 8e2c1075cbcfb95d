"""Write a data set in each format that is read beside COCO, and draw data sets to write.

A data set is a list of :class:`Picture`. `tests/datasets/test_annotation_formats.py` reads it back,
`benchmarks/hostile_data.py` damages its files.
"""

import base64
import csv
import io
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from hypothesis import strategies as st
from PIL import Image

LABELS = ('cat', 'traffic light', 'größe')


@dataclass
class Thing:
    """An object with a box (x, y, width, height) or a polygon [x1, y1, ...]."""

    label: str
    box: tuple | None = None
    polygon: list | None = None
    crowd: bool = False

    @property
    def points(self):
        return [*zip(self.polygon[::2], self.polygon[1::2])]

    @property
    def corners(self):
        x, y, w, h = self.box
        return x, y, x + w, y + h


@dataclass
class Picture:
    """An image file, its size, its split and its objects."""

    stem: str
    size: tuple = (40, 30)
    split: str = ''
    things: list = field(default_factory=list)
    source: Path | None = None  # a real image

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.name
        if self.source:
            path.symlink_to(self.source)
        else:
            path.write_bytes(_blank(self.size))
        return path

    @property
    def name(self):
        return self.stem + (self.source.suffix if self.source else '.png')


_BLANKS = {}


def _blank(size):
    if size not in _BLANKS:
        buffer = io.BytesIO()
        Image.fromarray(np.zeros(size[::-1], np.uint8)).save(buffer, 'PNG')
        _BLANKS[size] = buffer.getvalue()
    return _BLANKS[size]


def _dump(path, content, encoding='utf-8'):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_bytes(text.encode(encoding))


def labels_of(pictures):
    return sorted({thing.label for picture in pictures for thing in picture.things})


def by_split(pictures):
    splits = {}
    for picture in pictures:
        splits.setdefault(picture.split, []).append(picture)
    return splits


# --- the writers; each needs an empty folder


def write_yolo(root, pictures, layout='images/train', encoding='utf-8'):
    """layout: where the images of the split "train" are; "." puts all files into one folder."""
    labels = labels_of(pictures)
    for picture in pictures:
        place = layout.replace('train', picture.split or '.')
        image = picture.write(root / place)
        folder = root / place.replace('images', 'labels')
        width, height = picture.size
        lines = []
        for thing in picture.things:
            number = labels.index(thing.label)
            if thing.polygon:
                values = [v / (width, height)[i % 2] for i, v in enumerate(thing.polygon)]
            else:
                x, y, w, h = thing.box
                values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
            lines.append(' '.join([str(number), *(f'{value:.6f}' for value in values)]))
        if lines:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'{image.stem}.txt').write_text('\n'.join(lines) + '\n')
    if layout == '.':
        _dump(root / 'classes.txt', '\n'.join(labels), encoding)
        return
    splits = {split: layout.replace('train', split) for split in by_split(pictures) if split}
    text = ''.join(f'{split}: {place}\n' for split, place in splits.items())
    names = json.dumps(dict(enumerate(labels)), ensure_ascii=False)
    _dump(root / 'data.yaml', f'path: ../data\n{text}names: {names}\n', encoding)


def write_voc(root, pictures, beside=False, encoding='utf-8'):
    """beside: the XML files are beside the images, in a folder for each split."""
    for picture in pictures:
        folder = root / picture.split if beside else root / 'JPEGImages'
        picture.write(folder)
        objects = ''
        for thing in picture.things:
            box = zip(('xmin', 'ymin', 'xmax', 'ymax'), thing.corners)
            corners = ''.join(f'<{side}>{value!r}</{side}>' for side, value in box)
            objects += (
                f'<object><name>{escape(thing.label)}</name><pose>Left</pose>'
                f'<difficult>{int(thing.crowd)}</difficult><bndbox>{corners}</bndbox></object>'
            )
        width, height = picture.size
        xml = (
            f'<annotation><folder>x</folder><filename>{escape(picture.name)}</filename><size>'
            f'<width>{width}</width><height>{height}</height></size>{objects}</annotation>'
        )
        _dump((folder if beside else root / 'Annotations') / f'{picture.stem}.xml', xml, encoding)
    if not beside:
        for split, inside in by_split(pictures).items():
            if split:
                stems = '\n'.join(picture.stem for picture in inside)
                _dump(root / 'ImageSets' / 'Main' / f'{split}.txt', stems)


def write_via(root, pictures, kind='project', encoding='utf-8'):
    for split, inside in by_split(pictures).items():
        folder = root / split
        entries = {}
        for picture in inside:
            size = picture.write(folder).stat().st_size
            regions = []
            for thing in picture.things:
                if thing.polygon:
                    xs, ys = thing.polygon[::2], thing.polygon[1::2]
                    shape = dict(name='polygon', all_points_x=xs, all_points_y=ys)
                else:
                    shape = dict(zip(('x', 'y', 'width', 'height'), thing.box), name='rect')
                attributes = dict(class_=thing.label)
                regions.append(dict(shape_attributes=shape, region_attributes=attributes))
            key = f'{picture.name}{size}'
            entries[key] = dict(filename=picture.name, size=size, regions=regions)
            entries[key] |= dict(file_attributes={})
        if kind == 'csv':
            _write_csv(folder / 'via_export_csv.csv', entries.values(), encoding)
        elif kind == 'export':
            _dump(folder / 'via_export_json.json', entries, encoding)
        else:
            region = dict(class_=dict(type='text'))
            project = dict(_via_settings={}, _via_img_metadata=entries)
            project |= dict(_via_attributes=dict(region=region, file={}))
            _dump(folder / 'via_project.json', project, encoding)


def _write_csv(path, entries, encoding):
    text = io.StringIO()
    writer = csv.writer(text)
    columns = ('filename', 'file_size', 'file_attributes', 'region_count', 'region_id')
    writer.writerow([*columns, 'region_shape_attributes', 'region_attributes'])
    for entry in entries:
        start = [entry['filename'], entry['size'], '{}', len(entry['regions'])]
        for index, region in enumerate(entry['regions']):
            cells = (region['shape_attributes'], region['region_attributes'])
            texts = (json.dumps(cell, ensure_ascii=False) for cell in cells)
            writer.writerow([*start, index, *texts])
        if not entry['regions']:
            writer.writerow([*start, 0, '{}', '{}'])
    _dump(path, text.getvalue(), encoding)


def write_labelme(root, pictures, encoding='utf-8'):
    for picture in pictures:
        folder = root / picture.split
        picture.write(folder)
        items = []
        for thing in picture.things:
            if thing.polygon:
                points, kind = thing.points, 'polygon'
            else:
                x1, y1, x2, y2 = thing.corners
                points, kind = [(x2, y2), (x1, y1)], 'rectangle'
            items.append(dict(label=thing.label, points=points, shape_type=kind, group_id=None))
        width, height = picture.size
        content = dict(version='5.5.0', flags={}, shapes=items, imagePath=picture.name)
        content |= dict(imageData=None, imageHeight=height, imageWidth=width)
        _dump(folder / f'{picture.stem}.json', content, encoding)


def write_cvat(root, pictures, encoding='utf-8'):
    labels = ''.join(f'<label><name>{escape(n)}</name></label>' for n in labels_of(pictures))
    images = ''
    for number, picture in enumerate(pictures):
        picture.write(root / 'images' / picture.split)
        items = ''
        for thing in picture.things:
            start = f'label={quoteattr(thing.label)} occluded="0" z_order="0"'
            if thing.polygon:
                points = ';'.join(f'{x!r},{y!r}' for x, y in thing.points)
                items += f'<polygon {start} points="{points}"></polygon>'
            else:
                sides = zip(('xtl', 'ytl', 'xbr', 'ybr'), thing.corners)
                items += f'<box {start} {" ".join(f"{k}={quoteattr(repr(v))}" for k, v in sides)}>'
                crowd = str(thing.crowd).lower()
                items += f'<attribute name="is_crowd">{crowd}</attribute></box>'
        width, height = picture.size
        images += (
            f'<image id="{number}" name={quoteattr(picture.name)} subset="{picture.split}" '
            f'width="{width}" height="{height}">{items}</image>'
        )
    xml = f'<annotations><version>1.1</version><meta><task><labels>{labels}</labels></task></meta>'
    _dump(root / 'annotations.xml', f'{xml}{images}</annotations>', encoding)


def write_supervisely(root, pictures, encoding='utf-8'):
    classes = [dict(title=label, shape='any', color='#00FF00') for label in labels_of(pictures)]
    _dump(root / 'meta.json', dict(classes=classes, tags=[]), encoding)
    for picture in pictures:
        folder = root / (picture.split or 'ds0')
        picture.write(folder / 'img')
        objects = []
        for thing in picture.things:
            if thing.polygon:
                outline, kind = thing.points, 'polygon'
            else:
                x1, y1, x2, y2 = thing.corners
                outline, kind = [(x1, y1), (x2, y2)], 'rectangle'
            points = dict(exterior=outline, interior=[])
            objects.append(dict(classTitle=thing.label, geometryType=kind, points=points))
        width, height = picture.size
        content = dict(description='', tags=[], size=dict(height=height, width=width))
        _dump(folder / 'ann' / f'{picture.name}.json', content | dict(objects=objects), encoding)


def packed(bitmap):
    """Return a bitmap as Supervisely writes it."""
    return base64.b64encode(zlib.compress(base64.b64decode(as_png(bitmap)))).decode()


def as_png(bitmap):
    """Return a bitmap as Labelme writes it."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(bitmap, bool)).save(buffer, 'PNG')
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class Writer:
    """A way to write a data set: the format, and what it can hold."""

    format: str
    write: object
    options: dict = field(default_factory=dict)
    polygons: bool = True
    tolerance: float = 1e-6  # px
    has_empty: bool = True  # whether images without objects have a file


WRITERS = {
    'yolo images/train': Writer('YOLO', write_yolo, tolerance=1e-3),
    'yolo train/images': Writer('YOLO', write_yolo, dict(layout='train/images'), tolerance=1e-3),
    'yolo images': Writer('YOLO', write_yolo, dict(layout='images'), tolerance=1e-3),
    'yolo beside': Writer('YOLO', write_yolo, dict(layout='.'), tolerance=1e-3),
    'voc': Writer('Pascal VOC', write_voc, polygons=False),
    'voc beside': Writer('Pascal VOC', write_voc, dict(beside=True), polygons=False),
    'via project': Writer('VIA', write_via),
    'via export': Writer('VIA', write_via, dict(kind='export')),
    'via csv': Writer('VIA', write_via, dict(kind='csv')),
    'labelme': Writer('Labelme', write_labelme),
    'cvat': Writer('CVAT', write_cvat),
    'supervisely': Writer('Supervisely', write_supervisely),
}
WITHOUT_SPLITS = ('yolo images', 'yolo beside')

# --- data sets


def sample(polygons=False, splits=('train', 'val')):
    """Return a small correct data set; the last image has no objects."""
    pictures = []
    for number in range(6):
        size = ((40, 30), (64, 48))[number % 2]
        things = []
        for i in range(number % 3 + 1 if number < 5 else 0):
            x, y, w, h = 2.0 + 3 * i, 3.0 + number, 12.0 + i, 10.0
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            label = LABELS[(number + i) % 3]
            things.append(Thing(label, None, polygon) if polygons else Thing(label, (x, y, w, h)))
        pictures.append(Picture(f'img_{number}', size, splits[number % len(splits)], things))
    return pictures


_NAMES = st.text(
    st.characters(categories=('L', 'N'), include_characters=' _-.&<\'"'), min_size=1, max_size=12
).map(lambda name: ' '.join(name.split()) or 'x')


@st.composite
def data_sets(draw, polygons, splits=('train', 'val')):
    """Draw a data set of boxes or polygons inside the images."""
    labels = draw(st.lists(_NAMES, min_size=1, max_size=4, unique_by=str.lower))
    pictures = []
    for number in range(draw(st.integers(2, 5))):
        width, height = size = draw(st.tuples(st.integers(20, 90), st.integers(20, 90)))
        things = []
        for _ in range(draw(st.integers(0 if number else 1, 3))):
            label = draw(st.sampled_from(labels))
            if polygons:
                xs, ys = st.floats(0, width), st.floats(0, height)
                points = draw(st.lists(st.tuples(xs, ys), min_size=3, max_size=9))
                things.append(Thing(label, None, [round(v, 3) for p in points for v in p]))
            else:
                x, y = draw(st.floats(0, width - 4)), draw(st.floats(0, height - 4))
                w, h = draw(st.floats(2, width - x)), draw(st.floats(2, height - y))
                things.append(Thing(label, tuple(round(v, 3) for v in (x, y, w, h))))
        split = splits[0] if not number else draw(st.sampled_from(splits))
        pictures.append(Picture(f'img {number}', size, split, things))
    return pictures
