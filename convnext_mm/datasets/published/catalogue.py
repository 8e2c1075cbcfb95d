"""COCO and ADE20K: their files on disk, and the archives that hold them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from convnext_mm.messages.commands import command

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass(frozen=True)
class Archive:
    """A zip file of the publisher.

    Attributes:
        url: Its address.
        size: Its size in bytes.
        md5: Its checksum.
        unzipped_gb: The approximate size of its content in GB (1e9 bytes).
        holds: The files and folders of the data set in it, relative to the root.
        top: The folder in it that becomes the root of the data set.
    """

    url: str
    size: int
    md5: str
    unzipped_gb: float
    holds: tuple[str, ...]
    top: str = ''

    @property
    def name(self) -> str:
        """The file name."""
        return PurePosixPath(self.url).name


@dataclass(frozen=True)
class PublishedSplit:
    """Images and their annotations: one COCO JSON, or a folder with a PNG for each image.

    Attributes:
        name: ``training`` or ``validation``.
        images: The folder of the images, relative to the root.
        annotations: The file or folder of the annotations, relative to the root.
        count: The number of images.
        stem: For a folder of PNGs, the name of image and PNG without ending, as a format of their
            number from 1.
        classes: For a folder of PNGs, the largest class id; 0 is no class.
    """

    name: str
    images: str
    annotations: str
    count: int
    stem: str = ''
    classes: int = 0


@dataclass(frozen=True)
class PublishedDataset:
    """A published data set.

    Attributes:
        name: Its common name.
        root: The folder where the configs expect it.
        markers: Folder names by which a path is recognised as one of this data set.
        splits: Its splits.
        archives: The archives that hold it.
        terms: The address of its terms of use.
        checked_by: The command that checks and downloads it.
    """

    name: str
    root: str
    markers: tuple[str, ...]
    splits: tuple[PublishedSplit, ...]
    archives: tuple[Archive, ...]
    terms: str
    checked_by: str

    def how_to_get(self, root: str) -> str:
        """Describe the files that belong into `root` and how to get them."""
        gb = sum(archive.size for archive in self.archives) / 1e9
        return '\n'.join(
            [
                f'{self.name} has these files:',
                *(f'  {line}' for split in self.splits for line in _files_of(root, split)),
                f'To download it ({gb:.1f} GB; an interrupted download is continued):',
                f'  {self.command(root)} --download',
                'By hand: download and unzip',
                *(f'  {archive.url}' for archive in self.archives),
                *([] if Path(root).exists() else [self.how_to_link(root)]),
            ]
        )

    def command(self, root: str) -> str:
        """Return the command that checks the data set."""
        check = command(self.checked_by)
        return f'{check} {shlex.quote(root)}' if Path(root) != Path(self.root) else check

    def how_to_link(self, root: str) -> str:
        """Describe how to use a copy of the data set that is elsewhere on the machine."""
        place = Path(root)
        source = f'/path/to/{PurePosixPath(self.root).name}'
        return f'If you have it already:  mkdir -p {place.parent} && ln -s {source} {place}'


# Sources: counts and layout are from the publishers. The sizes and MD5 of COCO are in the scripts
# of PaddleDetection and MLCommons. The MD5 of ADE20K is in several independent loaders; its size is
# also in the ETag of its server.
COCO = PublishedDataset(
    name='COCO 2017',
    root='data/coco',
    markers=('train2017', 'val2017'),
    splits=(
        PublishedSplit('training', 'train2017', 'annotations/instances_train2017.json', 118_287),
        PublishedSplit('validation', 'val2017', 'annotations/instances_val2017.json', 5_000),
    ),
    archives=(
        Archive(
            'http://images.cocodataset.org/annotations/annotations_trainval2017.zip',
            size=252_907_541,
            md5='f4bbac642086de4f52a3fdda2de5fa2c',
            unzipped_gb=0.85,
            holds=(
                'annotations/instances_train2017.json',
                'annotations/instances_val2017.json',
            ),
        ),
        Archive(
            'http://images.cocodataset.org/zips/val2017.zip',
            size=815_585_330,
            md5='442b8da7639aecaf257c1dceb8ba8c80',
            unzipped_gb=0.82,
            holds=('val2017',),
        ),
        Archive(
            'http://images.cocodataset.org/zips/train2017.zip',
            size=19_336_861_798,
            md5='cced6f7f71b7629ddf16f17bbcfab6b2',
            unzipped_gb=19.4,
            holds=('train2017',),
        ),
    ),
    terms='https://cocodataset.org/#termsofuse',
    checked_by='prepare-coco',
)

ADE20K = PublishedDataset(
    name='ADE20K',
    root='data/ade/ADEChallengeData2016',
    markers=('ADEChallengeData2016',),
    splits=(
        PublishedSplit(
            'training',
            'images/training',
            'annotations/training',
            count=20_210,
            stem='ADE_train_{:08d}',
            classes=150,
        ),
        PublishedSplit(
            'validation',
            'images/validation',
            'annotations/validation',
            count=2_000,
            stem='ADE_val_{:08d}',
            classes=150,
        ),
    ),
    archives=(
        Archive(
            'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
            size=967_382_037,
            md5='7328b3957e407ddae1d3cbf487f149ef',
            unzipped_gb=1.1,
            holds=(
                'images/training',
                'annotations/training',
                'images/validation',
                'annotations/validation',
            ),
            top='ADEChallengeData2016',
        ),
    ),
    terms='https://ade20k.csail.mit.edu/terms',
    checked_by='prepare-ade20k',
)


# The number of training images, by the class of the data set in OpenMMLab's packages.
_TRAINING_IMAGES = {
    'ADE20KDataset': ADE20K.splits[0].count,
    'CocoDataset': COCO.splits[0].count,
    'CityscapesDataset': 2975,
    'ImageNet': 1_281_167,
    'PascalContextDataset': 4996,
}


def training_images(cfg: Config) -> int | None:
    """Return the number of training images that a schedule was made for; None if unknown."""
    from convnext_mm.config.nodes import leaf_datasets

    dataset = next(leaf_datasets(cfg.train_dataloader), None)
    # With classes of its own, it is another data set in the same format.
    if dataset is None or dataset.get('metainfo'):
        return None
    return _TRAINING_IMAGES.get(dataset.type.rpartition('.')[2])


def find_published(paths: Iterable[str]) -> PublishedDataset | None:
    """Return the published data set that one of the paths belongs to, if any."""
    paths = list(paths)
    for dataset in (COCO, ADE20K):
        if any(marker in path for marker in dataset.markers for path in paths):
            return dataset
    return None


def _files_of(root: str, split: PublishedSplit) -> tuple[str, str]:
    annotations = f'{root}/{split.annotations}'
    if split.stem:
        annotations += '/*.png (one for each image)'
    return f'{root}/{split.images}/*.jpg ({split.count:,} images)', annotations
