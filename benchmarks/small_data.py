#!/usr/bin/env python
"""Make a small data set of people from an excerpt of COCO: benchmarks/small_data.py COCO TO

The set is like Penn-Fudan: some 130 photographs, one class, a few large people in each. An image is
a window of a photo around a person. People who are small in it count as crowd, which is neither
learned nor scored. Photos of train2017 give the training images, and photos of val2017 the
validation images, so no photo is in both.

Mistakes in the labels can be added. They are in both splits, as if one person had labelled them:
``--missing 0.1`` leaves out a tenth of the people, and ``--loose 0.15`` makes each box 15% wider
and higher and leaves out the masks, which would show where the box should be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

SPLITS = {'train': 'train2017', 'val': 'val2017'}
MIN_HEIGHT = 64  # px, of a person around whom a window is cut
MOST_SHARED = 0.5  # intersection over union of two windows of a photo
# A person counts as crowd who is less high, compared with the window, or of whom less is in it.
SMALL = 0.15
VISIBLE = 0.25
QUALITY = 95  # of the JPEG files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('coco', type=Path, help='folder with annotations, train2017 and val2017')
    parser.add_argument('to', type=Path, help='folder of the new data set')
    parser.add_argument('--missing', type=float, default=0.0, help='share of people to leave out')
    parser.add_argument('--loose', type=float, default=0.0, help='how much larger boxes are')
    args = parser.parse_args()
    for split, name in SPLITS.items():
        rng = np.random.default_rng(0)
        content = read_windows(args.coco, name, args.to / split, rng)
        people = [obj for obj in content['annotations'] if not obj['iscrowd']]
        missing = rng.random(len(people)) < args.missing
        left_out = {obj['id'] for obj, gone in zip(people, missing) if gone}
        content['annotations'] = [o for o in content['annotations'] if o['id'] not in left_out]
        if args.loose:
            loosen(content, args.loose)
        path = args.to / 'annotations' / f'instances_{split}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        print(f'{split}: {len(content["images"])} images, {len(people)} people', end='')
        print(f', {len(left_out)} of them left out' if left_out else '')
    return 0


def read_windows(root: Path, name: str, to: Path, rng: np.random.Generator) -> dict:
    """Write the windows of a split as images, and return their annotations."""
    to.mkdir(parents=True, exist_ok=True)
    coco = COCO(root / 'annotations' / f'instances_{name}.json')
    (person,) = coco.getCatIds(catNms=['person'])
    content = dict(info={}, images=[], annotations=[], categories=[dict(id=1, name='person')])
    for image in coco.loadImgs(sorted(coco.imgs)):
        people = coco.loadAnns(coco.getAnnIds(imgIds=image['id'], catIds=[person]))
        masks = [coco.annToMask(obj).astype(bool) for obj in people]
        photo = None
        for number, window in enumerate(choose_windows(image, people, rng)):
            if photo is None:
                photo = cv2.imread(str(root / name / image['file_name']))
            file = f'{Path(image["file_name"]).stem}_{number}.jpg'
            cv2.imwrite(str(to / file), photo[window], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            height, width = photo[window].shape[:2]
            entry = dict(id=len(content['images']) + 1, file_name=file, width=width, height=height)
            content['images'].append(entry)
            for obj, mask in zip(people, masks):
                cut = mask[window]
                if cut.any():
                    hidden = cut.sum() < VISIBLE * mask.sum()
                    small = cut.any(axis=1).sum() < SMALL * height
                    annotation = annotate(cut, crowd=bool(obj['iscrowd'] or hidden or small))
                    annotation.update(id=len(content['annotations']) + 1, image_id=entry['id'])
                    content['annotations'].append(annotation)
    return content


def choose_windows(
    image: dict, people: list[dict], rng: np.random.Generator
) -> Iterator[tuple[slice, slice]]:
    """Yield a window around each large person, the largest first, unless one is much the same."""
    windows: list[list[float]] = []
    for obj in sorted(people, key=lambda obj: -obj['bbox'][3]):
        x, y, width, height = obj['bbox']
        if obj['iscrowd'] or height < MIN_HEIGHT:
            continue
        # The person fills between half and nine tenths of the height, and is not always in the
        # middle.
        side = height / rng.uniform(0.5, 0.9)
        across = max(side * rng.uniform(0.75, 1.33), 1.2 * width)
        top = max(0, round(y + height / 2 - side * rng.uniform(0.45, 0.55)))
        left = max(0, round(x + width / 2 - across * rng.uniform(0.35, 0.65)))
        bottom = min(image['height'], round(top + side))
        right = min(image['width'], round(left + across))
        window = [left, top, right - left, bottom - top]
        if windows and coco_mask.iou([window], windows, [0] * len(windows)).max() > MOST_SHARED:
            continue
        windows.append(window)
        yield slice(top, bottom), slice(left, right)


def annotate(mask: np.ndarray, crowd: bool) -> dict:
    """Return the annotation of a mask."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(
        category_id=1,
        iscrowd=int(crowd),
        area=int(mask.sum()),
        bbox=coco_mask.toBbox(rle).tolist(),
        segmentation=dict(size=list(mask.shape), counts=rle['counts'].decode()),
    )


def loosen(content: dict, share: float) -> None:
    """Make all boxes larger, inside their images, and leave out the masks."""
    sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
    for obj in content['annotations']:
        x, y, width, height = obj['bbox']
        right, bottom = sizes[obj['image_id']]
        left, top = max(0, x - share / 2 * width), max(0, y - share / 2 * height)
        right = min(right, x + width * (1 + share / 2))
        bottom = min(bottom, y + height * (1 + share / 2))
        obj.update(bbox=[left, top, right - left, bottom - top])
        obj.update(area=(right - left) * (bottom - top))
        del obj['segmentation']


if __name__ == '__main__':
    sys.exit(main())
