"""What is found wrong with a data set, and what is put right: all of it at once, with examples."""

import json

import numpy as np
import pytest
from PIL import Image

from convnext_mm.datasets.own.inspection import held_out, inspect, main
from convnext_mm.datasets.own.recognise import local_name
from convnext_mm.messages.problems import ERROR, NOTE, REPAIRED, Problems
from tests.conftest import ROOT

DATA = ROOT.parent / 'shared' / 'data'
SIZE = (40, 30)
TRIANGLE = [2, 2, 12, 2, 2, 12]


def save(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((SIZE[1], SIZE[0], 3), np.uint8) if array is None else array
    Image.fromarray(array).save(path, **options)


def content(images=4, **changes):
    """COCO annotations without a fault: two triangles in every image."""
    annotations = [
        dict(
            id=number + 1,
            image_id=number // 2,
            category_id=1 + number % 2,
            bbox=[2, 2, 10, 10],
            area=50,
            iscrowd=0,
            segmentation=[list(TRIANGLE)],
        )
        for number in range(2 * images)
    ]
    return dict(
        info={},
        images=[
            dict(id=i, file_name=f'{i}.png', width=SIZE[0], height=SIZE[1]) for i in range(images)
        ],
        annotations=annotations,
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
    )


@pytest.fixture
def written(tmp_path):
    """Writes COCO annotations with their images; returns the folder."""

    def write(**splits):
        for split, one in splits.items():
            for image in one['images']:
                save(tmp_path / split / local_name(image['file_name']))
            (tmp_path / f'{split}.json').write_text(json.dumps(one))
        return tmp_path

    return write


def problems(root, level=None):
    """What is wrong: {kind: (level, number, first example)}."""
    return {
        p.what: (p.level, len(p.examples), p.examples[0])
        for p in inspect(root).problems
        if level in (None, p.level)
    }


def test_a_set_without_fault_has_no_problems(written):
    assert problems(written(train=content(), val=content(2))) == {}


def test_a_missing_image_is_an_error_though_another_split_has_one_of_its_name(written):
    root = written(train=content(), val=content(2))
    (root / 'val' / '1.png').unlink()
    assert problems(root) == {'images that are not there': (ERROR, 1, '1.png')}


def test_all_problems_are_told_at_once_and_errors_apart_from_repairs(written, capsys):
    train = content()
    train['annotations'][0]['id'] = 0
    del train['annotations'][1]['area'], train['info']
    train['annotations'][2]['category_id'] = 7
    train['images'].append(dict(id=9, file_name='gone.png', width=40, height=30))
    root = written(train=train, val=dict(content(1), annotations=[]))
    (root / 'train' / 'gone.png').unlink()
    assert main([str(root)]) == 1
    text = capsys.readouterr().out
    assert 'error     train  categories that are not declared: 1' in text
    assert 'category 7 of 1 objects' in text
    assert 'error     val    splits without objects: 1' in text
    assert 'repaired  train  objects with id 0' in text
    assert text.index('error ') < text.index('repaired ') < text.index('Not ready')


def test_ids_from_zero_twice_or_absent_are_numbered_anew(written):
    for change, what in (
        (lambda objects: objects[0].update(id=0), 'objects with id 0'),
        (lambda objects: objects[0].update(id=2), 'ids of several objects'),
        (lambda objects: objects[0].pop('id'), 'objects without a whole number as id'),
    ):
        train = content()
        change(train['annotations'])
        seen = inspect(written(train=train))
        assert [p.what.partition(',')[0] for p in seen.problems] == [what]
        ids = [obj['id'] for obj in seen.splits['train'].content['annotations']]
        assert ids == list(range(1, 9))


def test_what_is_missing_is_computed_from_masks_boxes_and_files(written):
    train = content()
    first, second, third, fourth = train['annotations'][:4]
    del first['area'], second['area'], third['bbox'], fourth['iscrowd']
    second['segmentation'] = [[1, 1, 1, 1, 1, 1]]  # of no pixel
    del train['images'][3]['width']
    seen = inspect(written(train=train))
    assert {p.level for p in seen.problems} == {REPAIRED}
    repaired = seen.splits['train'].content
    first, second, third, fourth = repaired['annotations'][:4]
    assert first['area'] == pytest.approx(50, abs=10)  # a triangle's pixels
    assert second['area'] == 100  # its box
    assert third['bbox'] == [2, 2, 10, 10]
    assert fourth['iscrowd'] == 0
    assert repaired['images'][3]['width'] == SIZE[0]


def test_boxes_stored_as_corners_are_recognised_and_converted(written):
    train = content()
    for number, obj in enumerate(train['annotations']):
        x, y = 2 + 3 * number, 1 + 2 * number
        obj.update(bbox=[x, y, x + 10, y + 12], segmentation=[])
    seen = inspect(written(train=train))
    assert 'boxes stored as x1, y1, x2, y2' in [p.what for p in seen.problems]
    assert [obj['bbox'][2:] for obj in seen.splits['train'].content['annotations']] == [
        [10, 12]
    ] * 8


def test_boxes_across_the_border_are_cut_and_boxes_outside_are_errors(written):
    train = content(10)
    train['annotations'][0]['bbox'] = [35, 25, 10, 10]
    train['annotations'][1]['bbox'] = [45, 5, 10, 10]
    train['annotations'][2]['bbox'] = [5, 5, 0, 10]
    seen = inspect(written(train=train))
    assert {p.what: p.level for p in seen.problems} == {
        'boxes outside of their images': ERROR,
        'boxes across the border of their images': REPAIRED,
        'boxes without width or height': REPAIRED,
    }
    objects = seen.splits['train'].content['annotations']
    assert objects[0]['bbox'] == [35, 25, 5, 5]
    assert 3 not in [obj['id'] for obj in objects]


def test_boxes_of_other_images_or_in_fractions_are_errors(written):
    train = content()
    for obj in train['annotations']:
        obj['bbox'] = [0.1, 0.2, 0.5, 0.5]
    assert problems(written(train=train)) == {
        'boxes in fractions of the image': (ERROR, 8, 'object 1 [0.1, 0.2, 0.5, 0.5]')
    }
    for obj in train['annotations']:
        obj['bbox'] = [20, 20, 300, 10]
    assert problems(written(train=train), ERROR) == {
        'boxes that reach out of their images': (ERROR, 8, 'object 1 [20, 20, 300, 10]')
    }
    train['annotations'][0]['bbox'] = [1, 2, None, 3]
    assert problems(written(train=train), ERROR) == {
        'boxes that are not four numbers': (ERROR, 1, 'object 1')
    }


def test_polygons_of_two_points_are_left_out_and_broken_masks_are_errors(written):
    train = content(10)
    objects = train['annotations']
    objects[0]['segmentation'].append([1, 1, 2, 2])
    objects[1]['segmentation'] = [[1, 1, 2, 2]]
    objects[2]['segmentation'] = TRIANGLE
    objects[5]['segmentation'].append([1, 2, 3, 4, 5, 'six'])
    objects[3]['segmentation'] = dict(size=[30, 40], counts=[100, 10])
    objects[4]['segmentation'] = dict(size=[99, 99], counts=[9801])
    seen = inspect(written(train=train))
    assert {p.what: (p.level, p.examples) for p in seen.problems} == {
        'polygons that are no list of lists': (REPAIRED, ('object 3',)),
        'objects with a broken polygon, such as of 2 points': (REPAIRED, ('object 1', 'object 6')),
        'objects that are a broken polygon, such as of 2 points': (REPAIRED, ('object 2',)),
        'masks that are no run lengths': (ERROR, ('object 4',)),
        'masks of another size than their images': (ERROR, ('object 5',)),
    }
    left = seen.splits['train'].content['annotations']
    assert left[0]['segmentation'] == [TRIANGLE] and left[1]['id'] == 3
    assert left[1]['segmentation'] == [TRIANGLE]


def test_images_missing_broken_or_of_another_size_are_errors(written):
    root = written(train=content(5))
    (root / 'train' / '0.png').unlink()
    whole = (root / 'train' / '1.png').read_bytes()
    (root / 'train' / '1.png').write_bytes(whole[: len(whole) // 2])
    save(root / 'train' / '2.png', np.zeros((10, 10), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    save(root / 'train' / '3.png', exif=turned)
    found = problems(root)
    assert {what: count for what, (_, count, _) in found.items()} == {
        'images that are not there': 1,
        'images that cannot be read to their end': 1,
        'images of another size than declared': 1,
        'images that their EXIF data turns, and whose annotations are not turned': 1,
    }
    assert found['images of another size than declared'][2] == '2.png is 10x10, declared 40x30'


def test_masks_for_some_objects_only_are_an_error(written):
    train = content()
    train['annotations'][3]['segmentation'] = []
    assert problems(written(train=train), ERROR) == {
        'objects without a mask, others having one': (ERROR, 1, 'object 4')
    }


def test_a_test_split_without_objects_is_not_used(written):
    seen = inspect(written(train=content(), val=content(2), test=dict(content(1), annotations=[])))
    assert [p.level for p in seen.problems] == [NOTE] and 'test' not in seen.splits


def test_paths_of_another_computer_are_shortened(written):
    train = content()
    train['images'][0]['file_name'] = r'C:\my photos\0.png'
    seen = inspect(written(train=train))
    assert [p.level for p in seen.problems] == [REPAIRED]
    assert seen.splits['train'].content['images'][0]['file_name'] == '0.png'


def test_ids_and_names_used_twice_are_errors(written):
    train = content()
    train['images'][1]['id'] = 0
    train['categories'] = [dict(id=1, name='cat'), dict(id=2, name='cat')]
    train['annotations'][7]['bbox'] = 'none'
    assert set(problems(written(train=train), ERROR)) == {
        'boxes that are not four numbers',  # told too, and not only after the others
        'ids of several images',
        'names of several categories',
    }


def test_categories_in_another_order_than_the_trainings_are_put_in_order(written):
    val = content(2)
    # The same objects under other ids, the categories listed the other way round.
    val['categories'] = [dict(id=5, name='dog'), dict(id=3, name='cat')]
    for obj in val['annotations']:
        obj['category_id'] = {1: 3, 2: 5}[obj['category_id']]
    seen = inspect(written(train=content(), val=val))
    assert [p.what for p in seen.problems] == ["lists of categories unlike the training set's"]
    repaired = seen.splits['val'].content
    assert repaired['categories'] == content()['categories']
    assert repaired['annotations'] == content(2)['annotations']


def test_a_class_that_training_does_not_have_is_an_error(written):
    val = content(2)
    val['categories'][1]['name'] = 'cow'
    found = problems(written(train=content(), val=val), ERROR)
    assert found == {
        'classes that the training annotations do not have': (ERROR, 1, 'cow (2 objects)')
    }


def test_roboflows_group_of_all_categories_is_no_class(written):
    train = content()
    train['categories'] = [
        dict(id=0, name='animals', supercategory='none'),
        *(dict(category, supercategory='animals') for category in train['categories']),
    ]
    seen = inspect(written(train=train))
    assert seen.classes == ('cat', 'dog')
    assert [p.examples for p in seen.problems] == [('animals',)]


def test_unused_categories_empty_images_and_shared_images_are_notes(written):
    train = content()
    train['categories'].append(dict(id=3, name='unicorn'))
    train['images'].append(dict(id=8, file_name='8.png', width=SIZE[0], height=SIZE[1]))
    root = written(train=train)
    (root / 'val.json').write_text(json.dumps(dict(train, images=train['images'][:4])))
    found = problems(root)
    assert {level for level, _, _ in found.values()} == {NOTE}
    assert found['categories that no object has'][2] == 'unicorn'
    assert found['images without objects'][2] == '8.png'
    assert found['images that are in the training split too'][1] == 4


def test_the_users_files_stay_as_they_are(written):
    train = content()
    train['annotations'][0]['id'] = 0
    root = written(train=train)
    before = {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}
    assert main([str(root)]) == 0
    assert {path: path.read_bytes() for path in root.rglob('*') if path.is_file()} == before


@pytest.mark.parametrize('text', ['{"images": [], "annotations": [], "categories": ', '[1]'])
def test_what_cannot_be_read_is_one_line_and_exit_code_2(tmp_path, capsys, text):
    (tmp_path / 'train.json').write_text(text + ' "images" "annotations" "categories"')
    assert main([str(tmp_path / 'train.json')]) == 2
    assert capsys.readouterr().err.startswith('error: ')


# --- label maps


@pytest.fixture
def maps(tmp_path):
    """Writes images and label maps with these ids in them; returns the folder."""

    def write(*ids, names=''):
        for number, values in enumerate(ids):
            array = np.resize(np.array(values, np.uint8), (SIZE[1], SIZE[0]))
            save(tmp_path / 'images' / f'{number}.png')
            save(tmp_path / 'masks' / f'{number}.png', array)
        (tmp_path / 'classes.txt').write_text(names) if names else None
        return tmp_path

    return write


def labels(root):
    seen = inspect(root).labels
    return seen.classes, seen.reduce_zero_label


def test_names_and_ids_tell_whether_zero_is_a_class(maps):
    assert labels(maps([0, 1, 255], [0, 2], names='sky\ntree\nroad')) == (
        ('sky', 'tree', 'road'),
        False,
    )
    assert labels(maps([0, 1], [0, 2], names='tree\nroad')) == (('tree', 'road'), True)


def test_without_names_classes_are_called_by_their_ids(maps):
    root = maps([0, 1], [0, 2])
    assert labels(root) == (('class 0', 'class 1', 'class 2'), False)
    assert problems(root)['names of classes missing'][0] == NOTE


def test_colours_may_follow_the_names(maps):
    assert inspect(maps([0, 1], [1], names='sky 0 0 255\nold tree, 10, 20, 30')).labels == (
        inspect(maps([0, 1], [1], names='# name r g b\nsky 0 0 255\nold tree 10 20 30')).labels
    )
    assert inspect(maps([0, 1], [1])).labels.palette == ((0, 0, 255), (10, 20, 30))


def test_ids_beyond_the_classes_and_255_for_a_class_are_errors(maps):
    root = maps([0, 1], [0, 7], names='sky\ntree')
    assert problems(root) == {'label maps with ids beyond the classes': (ERROR, 1, '1 has 7')}
    (root / 'classes.txt').unlink()
    found = problems(maps([0, 255], [0]), ERROR)
    assert found == {'classes stored as 255': (ERROR, 1, 'all ids are 0 and 255')}


def test_splits_are_alike_in_their_names_and_share_no_images(maps):
    root = maps([0, 1], [0, 1], names='sky\ntree')
    for kind in ('images', 'masks'):
        (root / kind).rename(root / f'all_{kind}')
    for link in (
        'train/images/0.png',
        'train/masks/0.png',
        'val/images/0.png',
        'val/masks/0_m.png',
    ):
        (root / link).parent.mkdir(parents=True)
        (root / link).symlink_to(root / f'all_{link.split("/")[1]}' / '0.png')
    assert problems(root) == {
        'names that end otherwise than in training': (ERROR, 2, '0.png'),
        'images that are in the training split too': (NOTE, 1, '0.png'),
    }


def test_files_that_do_not_belong_together_are_errors(maps):
    root = maps([0, 1], [0, 1], [0, 1], [0, 1], [0, 1], names='sky\ntree')
    (root / 'masks' / '0.png').unlink()
    save(root / 'masks' / '1.png', np.zeros((5, 5), np.uint8))
    save(root / 'masks' / '2.png')
    (root / 'images' / '3.png').write_bytes(b'no image')
    save(root / 'images' / '5.jpg')
    assert {what: example for what, (_, _, example) in problems(root, ERROR).items()} == {
        'images without a label map': '0',
        'label maps of another size than their images': '1: 5x5 for an image of 40x30',
        'label maps that are none': '2.png (mode RGB: 3 channels)',
        'images that cannot be read to their end': problems(root)[
            'images that cannot be read to their end'
        ][2],
        'images that do not end in .png': '5.jpg',
    }


# --- and the rest


def test_images_are_held_out_by_seed_the_same_share_of_those_without_objects():
    names = [f'{i:03d}' for i in range(100)]
    held = held_out(names[:50], names[50:])
    assert held == held_out(names[:50][::-1], names[50:])
    assert len(held) == 20 and len(held & set(names[:50])) == 10
    assert held_out(['a', 'b'], []) < {'a', 'b'}


def test_a_problem_shows_its_number_and_first_examples():
    found = Problems()
    assert found.add(ERROR, 'train', 'things', range(1234), 'do this')
    assert not found.add(ERROR, 'train', 'others', [])
    assert str(found).splitlines() == [
        'error     train  things: 1,234',
        '                   0, 1, 2, and 1,231 more',
        '                   do this',
    ]


@pytest.mark.parametrize('name', ['coco_mini', 'nuclei', 'scenes_ade_layout'])
def test_real_sets_have_no_errors_and_need_no_repair(name):
    if not (DATA / name).exists():
        pytest.skip(f'needs {name}')
    assert {p.level for p in inspect(DATA / name).problems} <= {NOTE}
