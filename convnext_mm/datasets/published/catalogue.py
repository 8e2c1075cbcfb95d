"""The published data sets of the recipes: what they look like on disk and where they come from."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mmengine.config import Config, ConfigDict

from convnext_mm.config.nodes import leaf_datasets


@dataclass(frozen=True)
class Archive:
    """A zip file, as its publisher serves it.

    Attributes:
        url: Where it is.
        size: Its bytes.
        md5: Its checksum.
        unzipped_gb: The size of what is in it in GB (1e9 bytes), about.
        holds: The parts of the data set in it, relative to the root.
        top: A folder in it that stands for the root of the data set.
    """

    url: str
    size: int
    md5: str
    unzipped_gb: float
    holds: tuple[str, ...]
    top: str = ''

    @property
    def name(self) -> str:
        return PurePosixPath(self.url).name


@dataclass(frozen=True)
class Split:
    """Images and their annotations: one COCO JSON, or a folder with a PNG for each image.

    Attributes:
        name: What the configs use it for.
        images: Folder of the images, relative to the root.
        annotations: File or folder of the annotations, relative to the root.
        count: Number of images.
        stem: Where each image has an annotation file: the names of both, by number from 1 on.
        classes: There, the largest class id in the PNGs; 0 is none of the classes.
    """

    name: str
    images: str
    annotations: str
    count: int
    stem: str = ''
    classes: int = 0


@dataclass(frozen=True)
class Published:
    """A data set.

    Attributes:
        name: What people call it.
        root: Where the configs look for it.
        sign: Names that give it away in a path.
        terms: Where its terms of use are.
        tool: The script that checks and downloads it.
    """

    name: str
    root: str
    sign: tuple[str, ...]
    splits: tuple[Split, ...]
    archives: tuple[Archive, ...]
    terms: str
    tool: str

    def hint(self, root: str) -> str:
        """What belongs into `root` and how to get it there, for someone who has not got it."""
        gb = sum(archive.size for archive in self.archives) / 1e9
        return '\n'.join(
            [
                f'{self.name} is laid out as',
                *(f'  {line}' for split in self.splits for line in _layout(root, split)),
                f'To download it ({gb:.1f} GB; an interrupted download goes on where it stopped)',
                f'  {self.command(root)} --download',
                'By hand, download and unzip, so that it looks like that',
                *(f'  {archive.url}' for archive in self.archives),
                *([] if Path(root).exists() else [self.link(root)]),
            ]
        )

    def command(self, root: str) -> str:
        """The command that checks it."""
        return f'{self.tool} {shlex.quote(root)}' if Path(root) != Path(self.root) else self.tool

    def link(self, root: str) -> str:
        """What to do where it is on the machine already."""
        place = Path(root)
        source = f'/path/to/{PurePosixPath(self.root).name}'
        return f'If you have it already:  mkdir -p {place.parent} && ln -s {source} {place}'


# Counts and layout: the publishers. COCO's sizes and MD5: PaddleDetection's and MLCommons' scripts.
# ADE20K's MD5: several independent loaders; its size is also in the ETag that its server sends.
COCO = Published(
    name='COCO 2017',
    root='data/coco',
    sign=('train2017', 'val2017'),
    splits=(
        Split('training', 'train2017', 'annotations/instances_train2017.json', 118_287),
        Split('validation', 'val2017', 'annotations/instances_val2017.json', 5_000),
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
    tool='tools/prepare_coco.py',
)

ADE20K = Published(
    name='ADE20K',
    root='data/ade/ADEChallengeData2016',
    sign=('ADEChallengeData2016',),
    splits=(
        Split(
            'training',
            'images/training',
            'annotations/training',
            count=20_210,
            stem='ADE_train_{:08d}',
            classes=150,
        ),
        Split(
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
    tool='tools/prepare_ade20k.py',
)


# Training images of the data sets that recipes in iterations are for, by MMEngine's names.
_IMAGES = {
    'ADE20KDataset': ADE20K.splits[0].count,
    'CocoDataset': COCO.splits[0].count,
    'CityscapesDataset': 2975,
    'PascalContextDataset': 4996,
}


def training_images(cfg: Config) -> int | None:
    """How many training images a config's schedule is for, if that is known."""
    dataset = next(leaf_datasets(cfg.train_dataloader), ConfigDict(type=''))
    # With classes of its own it is another set that is read by the same class.
    return None if dataset.get('metainfo') else _IMAGES.get(dataset.type.rpartition('.')[2])


def behind(paths: list[str]) -> Published | None:
    """The data set that these paths are of, if it is a published one."""
    for dataset in (COCO, ADE20K):
        if any(sign in path for sign in dataset.sign for path in paths):
            return dataset
    return None


def _layout(root: str, split: Split) -> tuple[str, str]:
    if split.stem:
        annotations = f'{root}/{split.annotations}/*.png (one for each image)'
    else:
        annotations = f'{root}/{split.annotations}'
    return f'{root}/{split.images}/*.jpg ({split.count:,} images)', annotations
