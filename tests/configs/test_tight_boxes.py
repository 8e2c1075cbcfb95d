"""Boxes after the crops of the recipes, compared with the pixels of the cropped masks."""

import json

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import init_default_scope
from pycocotools import mask as coco_mask

from convnext_mm.config.nodes import leaf_datasets
from tests.conftest import ROOT

RECIPES = (
    *('cascade/convnext_v2_atto_photos', 'cascade/convnext_atto_nuclei'),
    'cascade/convnext_t_finetune',
)
WIDTH, HEIGHT = 500, 400
# A cross has empty corners: a crop through one of them leaves a box looser than the mask.
CROSS = [60, 150, 200, 150, 200, 20, 260, 20, 260, 150, 440, 150, 440, 210, 260, 210]
CROSS += [260, 380, 200, 380, 200, 210, 60, 210]
CROWD, OBJECTS = 2, 3


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """One image with a polygon, a run-length encoded mask in two pieces, and a crowd."""
    root = tmp_path_factory.mktemp('crosses')
    pieces, crowd = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    pieces[10:50, 10:50] = pieces[350:390, 450:490] = 1
    crowd[300:340, 20:180] = crowd[60:90, 20:60] = 1
    annotations = [dict(segmentation=[CROSS], bbox=[60, 20, 380, 360], iscrowd=0)]
    for mask, is_crowd in ((pieces, 0), (crowd, 1)):
        rle = coco_mask.encode(np.asfortranarray(mask))
        box = coco_mask.toBbox(rle).tolist()
        rle['counts'] = rle['counts'].decode()
        annotations.append(dict(segmentation=rle, bbox=box, iscrowd=is_crowd))
    for number, obj in enumerate(annotations, 1):
        obj.update(id=number, image_id=1, category_id=1, area=1000)
    image = dict(id=1, file_name='a.png', width=WIDTH, height=HEIGHT)
    cv2.imwrite(str(root / 'a.png'), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    content = dict(images=[image], annotations=annotations, categories=[dict(id=1, name='cross')])
    (root / 'train.json').write_text(json.dumps(content))
    return root


def crops(recipe, root, number):
    """Yield samples of a recipe's training pipeline on the image."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / f'configs/{recipe}.py')
    pipeline = next(leaf_datasets(cfg.train_dataloader)).pipeline
    dataset = CocoDataset(
        ann_file=str(root / 'train.json'),
        data_prefix=dict(img=f'{root}/'),
        metainfo=dict(classes=('cross',)),
        pipeline=pipeline,
        serialize_data=False,
    )
    np.random.seed(0)
    for _ in range(number):
        sample = dataset[0]['data_samples']
        yield sample.gt_instances, sample.ignored_instances


@pytest.mark.parametrize('recipe', RECIPES)
def test_boxes_are_as_tight_as_the_cropped_masks(recipe, root):
    found = {'objects': 0, 'crowds': 0, 'left out': 0}
    for single, ignored in crops(recipe, root, 12):
        found['objects'] += len(single)
        found['crowds'] += len(ignored)
        found['left out'] += OBJECTS - len(single) - len(ignored)
        for objects in (single, ignored):
            for box, mask in zip(objects.bboxes.tensor.numpy(), objects.masks.masks, strict=True):
                rows, columns = np.nonzero(mask)
                assert len(rows), 'an object without a pixel in the crop'
                pixels = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                # A resize after the crop rounds the mask to whole pixels, and not the box.
                assert box == pytest.approx(pixels, abs=0.01 if ends_with_crop(recipe) else 2)
    # Pieces and parts of the crowd are outside of some crops, and inside of others.
    assert found['objects'] > 12 and found['crowds'] and found['left out']


def ends_with_crop(recipe):
    return 'atto' in recipe
