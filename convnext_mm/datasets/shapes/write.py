"""Write the built-in data set in the layout of COCO, ADE20K or ImageNet."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

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
from convnext_mm.visualization.image_files import write_image

MANIFEST = 'shapes.json'
CROP = 1.5  # side of the image of one object / its longer side


def write_coco(
    root: str | Path,
    train: int = 1000,
    val: int = 200,
    height: int = 128,
    width: int = 128,
    seed: int = 0,
) -> None:
    """Write `{train,val}/*.jpg` and `annotations/instances_{train,val}.json` below `root`.

    Do nothing if `root` holds the same data set already.

    Args:
        root: A new or empty folder.
        train, val: The number of images.
        height, width: The size of the images in pixels.
        seed: Another seed gives other images.

    Raises:
        ValueError: A size is below 32 px, a count below 1 or the seed below 0.
        FileExistsError: `root` holds other files.
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

    The scenes, the arguments and the errors are the same as in :func:`write_coco`.
    """
    _write_once(root, 'ade', _ade_split, dict(train=train, val=val), height, width, seed)


def write_classes(
    root: str | Path,
    train: int = 1000,
    val: int = 200,
    height: int = 128,
    width: int = 128,
    seed: int = 0,
) -> None:
    """Write the objects alone, as `{train,val}/<class>/*.png`, to train a classifier on.

    Each object of a scene gives a square image around it. The square is 1.5 times as large as the
    object, or ends at the border of the scene. `train` and `val` count scenes.

    The scenes, the other arguments and the errors are the same as in :func:`write_coco`.
    """
    _write_once(root, 'classes', _class_split, dict(train=train, val=val), height, width, seed)


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
    # The folder is renamed when it is complete, so a data set with a manifest is complete.
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as scratch:
        unfinished = Path(scratch, root.name)
        unfinished.mkdir()
        for split, count in counts.items():
            write_split(unfinished, split, render_split(split, count, height, width, seed))
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
        try:
            unfinished.rename(root)
        except OSError:  # Another process may have finished the same data set first.
            if not _already_holds(root, manifest):
                raise


def _already_holds(root: Path, manifest: dict) -> bool:
    """Return whether a folder holds this data set, and not nothing.

    Raises:
        FileExistsError: It holds something else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / MANIFEST).read_text())
    except (OSError, ValueError):
        raise FileExistsError(
            f'{root} exists and is not a shapes data set: give a new or empty folder'
        ) from None
    if found != manifest:
        raise FileExistsError(
            f'{root} holds another shapes data set ({found}, wanted: {manifest}): '
            'delete it or give another folder'
        )
    return True


def _coco_split(root: Path, split: str, scenes: Iterator[Scene]) -> None:
    (root / split).mkdir()
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for image_id, scene in enumerate(scenes, start=1):
        name = f'{image_id:06d}.jpg'
        write_image(scene.image, root / split / name)
        height, width = scene.image.shape[:2]
        images.append(dict(id=image_id, file_name=name, height=height, width=width))
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            # RLE is exact for holes and for objects in several parts, and polygons are not.
            runs = rle.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                dict(
                    id=len(annotations) + 1,  # pycocotools treats id 0 as "no match".
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
        write_image(scene.image, images / f'{number:06d}.jpg')
        write_image(scene.label_map, annotations / f'{number:06d}.png')


def _class_split(root: Path, split: str, scenes: Iterator[Scene]) -> None:
    for name in CLASSES:
        (root / split / name).mkdir(parents=True)
    for number, scene in enumerate(scenes, start=1):
        for index, (mask, label) in enumerate(zip(scene.masks, scene.labels, strict=True)):
            path = root / split / CLASSES[label] / f'{number:06d}_{index}.png'
            write_image(_crop(scene.image, mask), path)


def _crop(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the square around an object, moved into the image."""
    ys, xs = np.nonzero(mask)
    ends = (ys.min(), ys.max() + 1), (xs.min(), xs.max() + 1)
    side = min(round(CROP * max(high - low for low, high in ends)), *image.shape[:2])
    window = []
    for (low, high), size in zip(ends, image.shape):
        start = int(np.clip((low + high - side) // 2, 0, size - side))
        window.append(slice(start, start + side))
    return image[tuple(window)]
