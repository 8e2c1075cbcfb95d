"""The numbers of a data set are right: counts by class, image sizes, object sizes."""

import json

import numpy as np

from convnext_mm.datasets.own.check import check_own_data
from convnext_mm.datasets.own.statistics import statistics
from tests.datasets.test_label_maps import maps  # noqa: F401
from tests.datasets.test_own_checks import content, written  # noqa: F401


def test_objects_are_counted_by_class_and_image_and_crowds_are_none(written):  # noqa: F811
    train = content(images=4)
    train['annotations'][0]['iscrowd'] = 1  # a cat in image 0
    train['annotations'] = train['annotations'][:5]  # image 2 has a cat only, image 3 nothing
    found = statistics(check_own_data(written(train=train)))['train']
    assert found.classes == ('cat', 'dog')
    assert found.objects_by_class.tolist() == found.images_by_class.tolist() == [2, 2]
    assert found.objects_by_image.tolist() == [1, 2, 1, 0]
    assert (found.empty_images, found.crowds) == (1, 1)
    assert found.boxes.tolist() == [[10, 10]] * 4 and found.areas.tolist() == [50] * 4
    # 40x30 px: the short side reaches 60 first, or the long side 60.
    assert found.resize_factors((1000, 60)).tolist() == [2] * 4
    assert found.resize_factors((60, 60)).tolist() == [1.5] * 4
    np.testing.assert_allclose(found.object_sizes((60, 60)), 1.5 * 50**0.5)


def test_data_with_errors_has_numbers_too(written):  # noqa: F811
    train = content(images=2)
    train['annotations'][0]['category_id'] = 9
    del train['annotations'][1]['bbox'], train['annotations'][1]['segmentation']
    root = written(train=train)
    (root / 'train' / '1.png').unlink()
    del train['images'][1]['width']
    (root / 'train.json').write_text(json.dumps(train))
    found = statistics(check_own_data(root))['train']
    assert found.objects_by_class.tolist() == [1, 1]
    assert found.resize_factors((60, 60)).tolist() == [1.5, 1]


def test_a_class_in_a_label_map_is_one_object_with_its_pixels(maps):  # noqa: F811
    root = maps([0, 1, 1, 1], [0, 0, 0, 255], names='sky\nsea\n')
    found = statistics(check_own_data(root))['train']
    assert found.pixels_by_class.tolist() == [24 + 72, 72]
    assert found.images_by_class.tolist() == [2, 1]
    assert found.image_sizes.tolist() == [[12, 8]] * 2
