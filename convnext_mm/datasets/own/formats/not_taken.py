"""Name the annotations that are not read, and say how to go on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from convnext_mm.datasets.own.formats.labelme import is_labelme
from convnext_mm.datasets.own.formats.source import Folder, head

_SAMPLE = 20  # files of each kind that are looked at
_MOST = 1000  # images whose folders are looked at


@dataclass(frozen=True)
class NotTaken:
    """A format that is not read.

    Attributes:
        name: Its name.
        remedy: How to go on.
        suffixes: The endings of its files.
        pattern: What the begin of such a file has.
    """

    name: str
    remedy: str
    suffixes: tuple[str, ...]
    pattern: str = ''

    def is_in(self, folder: Folder) -> Path | None:
        """Return a file of this format, if the folder has one."""
        for suffix in self.suffixes:
            for path in folder.with_suffix(suffix)[:_SAMPLE]:
                if re.search(self.pattern, head(path), re.DOTALL):
                    return path
        return None


_WRITE_COCO = 'write a COCO JSON with images, annotations and categories'

NOT_TAKEN = (
    NotTaken(
        'Labelbox',
        'convert them to COCO, for example with FiftyOne or Roboflow',
        ('.ndjson', '.json', '.jsonl', '.csv'),
        r'"data_row"|DataRow ID|"Labeled Data"',
    ),
    NotTaken(
        'Label Studio',
        'choose COCO in its export',
        ('.json',),
        r'"completed_by"|"from_name"|"annotations".*"result"',
    ),
    NotTaken(
        'VIA 3', 'convert them to COCO; projects of VIA 2 are read', ('.json',), r'"pid".*"vid'
    ),
    NotTaken('V7 Darwin', 'choose COCO in its export', ('.json',), r'"slots"|"schema_ref"'),
    NotTaken(
        'CreateML',
        'choose COCO in the export of the tool that wrote them, such as Roboflow',
        ('.json',),
        r'"coordinates"',
    ),
    NotTaken(
        'Cityscapes polygons',
        'train on its label maps, gtFine, or convert the polygons to COCO',
        ('.json',),
        r'"imgHeight"',
    ),
    NotTaken(
        'BDD100K',
        'convert them to COCO: python -m bdd100k.label.to_coco',
        ('.json',),
        r'"box2d"|"videoName"',
    ),
    NotTaken(
        'Datumaro',
        'convert them to COCO: datum convert -if datumaro -f coco',
        ('.json',),
        r'"media_type"|"items".*"annotations".*"label_id"',
    ),
    NotTaken('Open Images', 'export them to COCO with FiftyOne', ('.csv',), r'^\ufeff?ImageID,'),
    NotTaken('a CSV with boxes', _WRITE_COCO, ('.csv',), r'(?i)^[^\n]*(xmin|x_min|x1|bbox)'),
    NotTaken(
        'TFRecord',
        'choose COCO in the export of the tool that wrote them, such as Roboflow or CVAT',
        ('.tfrecord', '.tfrecords', '.record'),
    ),
    NotTaken(
        'KITTI',
        'convert them to COCO: datum convert -if kitti -f coco',
        ('.txt',),
        r'^[A-Za-z_]+( -?[\d.]+){14}',
    ),
    NotTaken(
        'DOTA, with rotated boxes',
        'convert them to COCO; the boxes become upright',
        ('.txt',),
        r'^(imagesource.*?gsd\S*\s+)?(-?[\d.]+ ){8}[^\d\s]\S* [0-2]',
    ),
    NotTaken(
        'MOT tracks',
        'convert them to COCO: datum convert -if mot_seq -f coco',
        ('.txt',),
        r'^\d+,-?\d+(,-?[\d.]+){5}',
    ),
    NotTaken('Parquet', f'save the images as files, and {_WRITE_COCO}', ('.parquet',)),
    NotTaken(
        'arrays (HDF5, MATLAB, NumPy)',
        f'save the images as files, and {_WRITE_COCO}',
        ('.h5', '.hdf5', '.mat', '.npz'),
    ),
)
PACKED = ('.zip', '.tar', '.gz', '.tgz', '.7z', '.rar')
_MASK_FILES = (
    'one file for each mask',
    'write a COCO JSON with the masks as run-length encodings, for example with pycocotools',
)


def name_annotations(folder: Folder) -> str:
    """Name the format of annotations that are not read, and a remedy; return '' if unknown."""
    if folder.file:
        if is_labelme(folder.file):
            return 'this is the Labelme file of one image: give its folder'
        if folder.file.suffix.lower() == '.xml' and '<annotation' in head(folder.file):
            return 'this is the Pascal VOC file of one image: give the folder of the data set'
    for one in NOT_TAKEN:
        if path := one.is_in(folder):
            return f'{folder.place(path)} looks like {one.name}, which is not read: {one.remedy}'
    if any(_is_mask_of_one(path) for path in folder.images[:_MOST]):
        name, remedy = _MASK_FILES
        return f'there is {name}, which is not read: {remedy}'
    if packed := next((p for suffix in PACKED for p in folder.with_suffix(suffix)), None):
        return f'{folder.place(packed)} is an archive: unpack it'
    return ''


def _is_mask_of_one(path: Path) -> bool:
    """Tell whether an image has a folder of masks, as in the Data Science Bowl of 2018."""
    folder = path.parent
    return folder.name == 'masks' and len([*(folder.parent / 'images').glob('*')]) == 1
