"""The built-in data set: rendered scenes in COCO's or ADE20K's layout, without any download.

python -m convnext_mm.datasets.shapes.write data/shapes --layout coco --train 1000 --val 200
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from convnext_mm.datasets.shapes.scenes import (
    CLASSES,
    MIN_SIDE,
    VERSION,
    Scene,
    render_split,
    require_at_least,
)

MANIFEST = 'shapes.json'


def write_coco(
    root: str | Path,
    train: int = 1000,
    val: int = 200,
    height: int = 128,
    width: int = 128,
    seed: int = 0,
) -> None:
    """Write `{train,val}/*.jpg` and `annotations/instances_{train,val}.json` below `root`.

    Does nothing when `root` holds the same set already.

    Args:
        train, val: number of pictures.
        height, width: in pixels.

    Raises:
        ValueError: a size is below 32 px, a count below 1 or the seed below 0.
        FileExistsError: `root` holds anything else.
    """
    _write_once(root, 'coco', _coco_split, dict(train=train, val=val), height, width, seed)


def write_ade(
    root: str | Path,
    train: int = 1000,
    val: int = 200,
    height: int = 128,
    width: int = 128,
    seed: int = 0,
) -> None:
    """Write `images/{training,validation}/*.jpg` and label maps `annotations/.../*.png`.

    The scenes are those of `write_coco`, and so are the arguments and errors.
    """
    _write_once(root, 'ade', _ade_split, dict(train=train, val=val), height, width, seed)


def _write_once(
    root: str | Path,
    layout: str,
    write_split: Callable[[Path, str, Iterator[Scene]], None],
    counts: dict[str, int],
    height: int,
    width: int,
    seed: int,
) -> None:
    require_at_least(1, **counts)
    require_at_least(MIN_SIDE, height=height, width=width)
    require_at_least(0, seed=seed)
    manifest = dict(version=VERSION, layout=layout, **counts, height=height, width=width, seed=seed)
    root = Path(root).resolve()
    if _already_holds(root, manifest):
        return

    root.parent.mkdir(parents=True, exist_ok=True)
    # The set takes its name only when it is whole, so a manifest in place means a complete set.
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as scratch:
        unfinished = Path(scratch, root.name)
        unfinished.mkdir()
        for split, count in counts.items():
            write_split(unfinished, split, render_split(split, count, height, width, seed))
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
        try:
            unfinished.rename(root)
        except OSError:  # another process may have finished the same set first
            if not _already_holds(root, manifest):
                raise


def _already_holds(root: Path, manifest: dict) -> bool:
    """True for this very set, False for nothing; anything else is an error."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / MANIFEST).read_text())
    except (OSError, ValueError):
        raise FileExistsError(
            f'{root} exists and is not a shapes data set; give a new or empty folder'
        ) from None
    if found != manifest:
        raise FileExistsError(
            f'{root} holds another shapes data set ({found}, asked for {manifest}); '
            'delete it or give another folder'
        )
    return True


def _coco_split(root: Path, split: str, scenes: Iterator[Scene]) -> None:
    (root / split).mkdir()
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for image_id, scene in enumerate(scenes, start=1):
        name = f'{image_id:06d}.jpg'
        _save(root / split / name, scene.image)
        height, width = scene.image.shape[:2]
        images.append(dict(id=image_id, file_name=name, height=height, width=width))
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            # Run lengths and not polygons: exact, also with holes and parts split by an occluder.
            runs = rle.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                dict(
                    id=len(annotations) + 1,  # COCO's matching takes id 0 for "no match"
                    image_id=image_id,
                    category_id=int(label) + 1,
                    bbox=rle.toBbox(runs).tolist(),
                    area=int(rle.area(runs)),
                    iscrowd=0,
                    segmentation=dict(size=[height, width], counts=runs['counts'].decode()),
                )
            )
    instances = dict(
        info=dict(description=f'convnext_mm shapes, {split}', version=str(VERSION)),
        licenses=[],
        images=images,
        annotations=annotations,
        categories=[
            dict(id=index, name=name, supercategory='shape')
            for index, name in enumerate(CLASSES, start=1)
        ],
    )
    (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(instances))


def _ade_split(root: Path, split: str, scenes: Iterator[Scene]) -> None:
    folder = dict(train='training', val='validation')[split]
    images, annotations = root / 'images' / folder, root / 'annotations' / folder
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    for number, scene in enumerate(scenes, start=1):
        _save(images / f'{number:06d}.jpg', scene.image)
        _save(annotations / f'{number:06d}.png', scene.label_map)


def _save(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f'could not write {path}')


def main() -> None:
    parser = argparse.ArgumentParser(description='Write the shapes data set.')
    parser.add_argument('root', help='a new or empty folder')
    parser.add_argument(
        '--layout', choices=('coco', 'ade'), default='coco', help='whose layout (%(default)s)'
    )
    parser.add_argument('--train', type=int, default=1000, help='training pictures (%(default)s)')
    parser.add_argument('--val', type=int, default=200, help='validation pictures (%(default)s)')
    size = dict(type=int, nargs=2, default=(128, 128), metavar=('H', 'W'))
    parser.add_argument('--size', **size, help='of a picture (128 128)')
    parser.add_argument('--seed', type=int, default=0, help='another one, other pictures')
    args = parser.parse_args()
    write = dict(coco=write_coco, ade=write_ade)[args.layout]
    height, width = args.size
    try:
        write(args.root, args.train, args.val, height, width, args.seed)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()
