"""The problems of a data set: found all at once, with examples, and repaired in a copy."""

import json

import numpy as np
import pytest
from PIL import Image

from convnext_mm.cli import check_data
from convnext_mm.datasets.own.check import check_own_data
from convnext_mm.datasets.own.files import base_name
from convnext_mm.datasets.own.problem import Problem
from convnext_mm.datasets.own.splitting import choose_validation
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Level
from tests.conftest import ROOT

DATA = ROOT.parent / 'shared' / 'data'
ERROR, REPAIRED, NOTE = Level.ERROR, Level.REPAIRED, Level.NOTE
SIZE = (40, 30)
TRIANGLE = [2, 2, 12, 2, 2, 12]


def save(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((SIZE[1], SIZE[0], 3), np.uint8) if array is None else array
    Image.fromarray(array).save(path, **options)


def content(images=4, **changes):
    """Correct COCO annotations: two triangles in every image."""
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
    """A function that writes COCO annotations with their images, and returns the folder."""

    def write(**splits):
        for split, one in splits.items():
            for image in one['images']:
                save(tmp_path / split / base_name(image['file_name']))
            (tmp_path / f'{split}.json').write_text(json.dumps(one))
        return tmp_path

    return write


def problems(root, level=None):
    """The problems of a data set: {what: (level, number of examples, first example)}."""
    return {
        p.what: (p.level, len(p.examples), *p.examples[:1])
        for p in check_own_data(root).findings
        if level in (None, p.level)
    }


def test_a_correct_data_set_has_no_problems(written):
    assert problems(written(train=content(), val=content(2))) == {}


def test_a_missing_image_is_an_error_though_another_split_has_one_of_its_name(written):
    root = written(train=content(), val=content(2))
    (root / 'val' / '1.png').unlink()
    assert problems(root) == {'images that are missing': (ERROR, 1, '1.png')}


def test_all_problems_are_printed_at_once_errors_first(written, capsys):
    train = content()
    train['annotations'][0]['id'] = 0
    del train['annotations'][1]['area'], train['info']
    train['annotations'][2]['category_id'] = 7
    train['images'].append(dict(id=9, file_name='gone.png', width=40, height=30))
    root = written(train=train, val=dict(content(1), annotations=[]))
    (root / 'train' / 'gone.png').unlink()
    assert check_data.main([str(root)]) == 1
    text = capsys.readouterr().out
    undeclared = 'category ids that are not declared: 1 (id 7 of 1 object)'
    assert f'error    train {undeclared}' in text
    assert 'error    val   there are no objects' in text
    assert 'repaired train objects with id 0' in text
    assert text.index('error ') < text.index('repaired ') < text.index('Not ready: 3 kinds')


def test_objects_with_id_zero_or_repeated_or_missing_ids_are_renumbered(written):
    for change, what in (
        (lambda objects: objects[0].update(id=0), 'objects with id 0'),
        (lambda objects: objects[0].update(id=2), 'object ids that are used several times'),
        (lambda objects: objects[0].pop('id'), 'objects without an integer id'),
    ):
        train = content()
        change(train['annotations'])
        checked = check_own_data(written(train=train))
        assert [p.what.partition(',')[0] for p in checked.findings] == [what]
        ids = [obj['id'] for obj in checked.splits['train'].content['annotations']]
        assert ids == list(range(1, 9))


def test_a_copy_of_an_object_is_noted(written):
    train = content()
    objects = train['annotations']
    objects.append(dict(objects[0], id=50))
    objects.append(dict(objects[1], id=51, bbox=[2, 2, 10, 9]))
    what = 'objects with the class, box and mask of another one'
    assert problems(written(train=train)) == {what: (NOTE, 1, 'object 50')}


def test_a_json_without_categories_has_none_declared(written, capsys):
    assert check_data.main([str(written(train=dict(content(), categories=[])))]) == 1
    text = capsys.readouterr().out
    assert 'the declared ids are none: add' in text and '0 classes\n' in text


def test_findings_name_objects_by_the_ids_in_the_file(written):
    train = content()
    for obj in train['annotations']:
        obj['id'] -= 1
    train['annotations'][5].update(bbox=[35, 25, 10, 10], segmentation=[])
    examples = [p.examples for p in check_own_data(written(train=train)).findings]
    assert examples == [('object 5',), ('object 5 [35, 25, 10, 10]',), ('object 0',)]


def test_missing_values_are_computed_from_masks_boxes_and_files(written):
    train = content()
    first, second, third, fourth = train['annotations'][:4]
    del first['area'], second['area'], third['bbox'], fourth['iscrowd']
    second['segmentation'] = [[2, 2, 12, 2, 12, 12, 2, 12]]
    del train['images'][3]['width']
    checked = check_own_data(written(train=train))
    assert {p.level for p in checked.findings} == {REPAIRED}
    repaired = checked.splits['train'].content
    first, second, third, fourth = repaired['annotations'][:4]
    assert first['area'] == pytest.approx(50, abs=10)  # a triangle's pixels
    assert second['area'] == 100  # a square's
    assert third['bbox'] == [2, 2, 10, 10]
    assert fourth['iscrowd'] == 0
    assert repaired['images'][3]['width'] == SIZE[0]


def test_boxes_stored_as_corners_are_recognised_and_converted(written):
    train = content()
    for number, obj in enumerate(train['annotations']):
        x, y = 2 + 3 * number, 1 + 2 * number
        obj.update(bbox=[x, y, x + 10, y + 12], segmentation=[])
    checked = check_own_data(written(train=train))
    assert 'boxes stored as x1, y1, x2, y2' in [p.what for p in checked.findings]
    assert [obj['bbox'][2:] for obj in checked.splits['train'].content['annotations']] == [
        [10, 12]
    ] * 8


def test_boxes_across_the_border_are_clipped_and_boxes_outside_are_errors(written):
    train = content(10)
    train['annotations'][0]['bbox'] = [35, 25, 10, 10]
    train['annotations'][1]['bbox'] = [45, 5, 10, 10]
    train['annotations'][2]['bbox'] = [5, 5, 0, 10]
    checked = check_own_data(written(train=train))
    assert {p.what: p.level for p in checked.findings} == {
        'boxes outside of their images': ERROR,
        'boxes across the border of their images': REPAIRED,
        'boxes without width or height': REPAIRED,
    }
    objects = checked.splits['train'].content['annotations']
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


def test_an_object_needs_a_box_or_a_mask(written):
    train = content()
    for obj in train['annotations']:
        del obj['segmentation']
    del train['annotations'][2]['bbox']
    assert problems(written(train=train), ERROR) == {
        'objects without a box and without a mask': (ERROR, 1, 'object 3')
    }


def test_polygons_of_two_points_are_removed_and_invalid_masks_are_errors(written):
    train = content(10)
    objects = train['annotations']
    objects[0]['segmentation'].append([1, 1, 2, 2])
    objects[1]['segmentation'] = [[1, 1, 2, 2]]
    objects[2]['segmentation'] = TRIANGLE
    objects[5]['segmentation'].append([1, 2, 3, 4, 5, 'six'])
    objects[3]['segmentation'] = dict(size=[30, 40], counts=[100, 10])
    objects[4]['segmentation'] = dict(size=[99, 99], counts=[9801])
    checked = check_own_data(written(train=train))
    assert {p.what: (p.level, p.examples) for p in checked.findings} == {
        'polygons that are not in a list of lists': (REPAIRED, ('object 3',)),
        'objects with an invalid polygon, such as 2 points': (REPAIRED, ('object 1', 'object 6')),
        'objects without a valid polygon': (REPAIRED, ('object 2',)),
        'masks whose run-length encoding is invalid': (ERROR, ('object 4',)),
        'masks whose size differs from their image': (ERROR, ('object 5',)),
    }
    left = checked.splits['train'].content['annotations']
    assert left[0]['segmentation'] == [TRIANGLE] and left[1]['id'] == 3
    assert left[1]['segmentation'] == [TRIANGLE]


def changed(entries, index, **values):
    """Correct annotations with other values in one entry."""
    train = content()
    train[entries][index].update(values)
    return train


@pytest.mark.parametrize(
    'entries, values, example',
    [
        ('images', dict(id=None), 'entry 1: null'),
        ('images', dict(file_name=5), 'entry 1: 5'),
        ('images', dict(width=True), 'entry 1: true'),
        ('annotations', dict(image_id=[0]), 'entry 1: [0]'),
        ('annotations', dict(bbox=[1, 2, None, 3]), 'entry 1: [1, 2, None, 3]'),
        ('annotations', dict(bbox=[1, 2, float('inf'), 3]), 'entry 1: [1, 2, inf, 3]'),
        ('annotations', dict(bbox=[1, 2, 1e9, 3]), 'entry 1: [1, 2, 1000000000.0, 3]'),
        ('annotations', dict(segmentation='abc'), "entry 1: 'abc'"),
        ('annotations', dict(iscrowd=2), 'entry 1: 2'),
        ('categories', dict(id=1.5), 'entry 1: 1.5'),
        ('categories', dict(name='{{ fileDirname }}'), "entry 1: '{{ fileDirname }}'"),
        ('categories', dict(name='a\x1b[2J'), r"entry 1: 'a\x1b[2J'"),
        ('categories', dict(name='\ud800'), r"entry 1: '\ud800'"),
        ('categories', dict(name=' '), "entry 1: ' '"),
    ],
)
def test_a_wrong_value_is_named_with_entry_key_value_and_expectation(
    written, entries, values, example
):
    root = written(train=content())
    (root / 'train.json').write_text(json.dumps(changed(entries, 1, **values)))
    (finding,) = check_own_data(root).errors
    (key,) = values
    assert finding.what == f'entries of "{entries}" with a wrong "{key}"'
    assert finding.examples == (example,) and finding.where == 'train'
    assert finding.remedy.startswith('expected ') and str(root / 'train.json') in finding.remedy


def test_all_wrong_values_are_found_at_once(written):
    train = content()
    del train['annotations'][0]['image_id']
    train['annotations'][3]['image_id'] = {}
    train['annotations'][5]['category_id'] = 'x' * 5000
    train['annotations'].append(7)
    found = problems(written(train=train), ERROR)
    assert found == {
        'entries of "annotations" that are no JSON objects': (ERROR, 1, 'entry 8: 7'),
        'entries of "annotations" with a wrong "image_id"': (ERROR, 2, 'entry 0: absent'),
    }


@pytest.mark.parametrize(
    'entries, values, new',
    [
        ('images', dict(width='40'), 40),
        ('images', dict(height=30.0), 30),
        ('images', dict(width=0), 40),
        ('annotations', dict(iscrowd=True), 1),
        ('annotations', dict(iscrowd=None), 0),
        ('annotations', dict(bbox=['2', '2', '10', '10.5']), [2, 2, 10, 10.5]),
        ('annotations', dict(ignore=1), 0),
        ('annotations', dict(area='50'), 45),
        ('annotations', dict(area=float('nan')), 45),
        ('annotations', dict(area=float('inf')), 45),
        ('annotations', dict(area=1), 45),
        ('annotations', dict(area=10**400), 45),
        ('annotations', dict(category_id='2'), 2),
        ('categories', dict(name=''), 'class 2'),
        ('categories', dict(name=7), '7'),
    ],
)
def test_a_value_with_one_reading_is_repaired(written, entries, values, new):
    checked = check_own_data(written(train=changed(entries, 1, **values)))
    assert {finding.level for finding in checked.findings} == {REPAIRED}
    (key,) = values
    assert checked.splits['train'].content[entries][1][key] == new


@pytest.mark.parametrize('area, repaired', [(56, True), (600, False), (900, False), (1500, True)])
def test_areas_far_from_the_area_of_the_mask_are_computed_again(written, area, repaired):
    """In a popular set of balloons, areas are 9% of the areas of the masks."""
    square = [[2, 2, 27, 2, 27, 27, 2, 27]]
    train = changed('annotations', 1, bbox=[2, 2, 25, 25], segmentation=square, area=area)
    checked = check_own_data(written(train=train))
    assert len(checked.findings) == repaired
    assert checked.splits['train'].content['annotations'][1]['area'] == (625 if repaired else area)


def test_objects_to_ignore_become_crowds(written):
    checked = check_own_data(written(train=changed('annotations', 1, ignore=1)))
    assert checked.splits['train'].content['annotations'][1]['iscrowd'] == 1


@pytest.mark.parametrize('new', [lambda i: f'{i}.jpg', lambda i: -i - 1, lambda i: 2**60 + i])
def test_images_and_categories_with_odd_ids_are_numbered(written, new):
    train = content()
    for image in train['images']:
        image['id'] = new(image['id'])
    for category in train['categories']:
        category['id'] = new(category['id'])
    for obj in train['annotations']:
        obj.update(image_id=new(obj['image_id']), category_id=new(obj['category_id']))
    checked = check_own_data(written(train=train))
    assert {finding.level for finding in checked.findings} == {REPAIRED}
    repaired = checked.splits['train'].content
    assert [image['id'] for image in repaired['images']] == [1, 2, 3, 4]
    assert [obj['image_id'] for obj in repaired['annotations']] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [obj['category_id'] for obj in repaired['annotations']] == [1, 2] * 4


def test_ids_as_text_and_as_integers_are_the_same(written):
    train = content()
    for image in train['images']:
        image['id'] = str(image['id'])
    checked = check_own_data(written(train=train))
    assert [p.what for p in checked.findings] == ['ids of "images" written as text']
    assert [image['id'] for image in checked.splits['train'].content['images']] == [0, 1, 2, 3]


def test_crowds_alone_are_an_error(written):
    train = content()
    for obj in train['annotations']:
        obj['iscrowd'] = 1
    assert 'all objects are crowds' in problems(written(train=train), ERROR)


def test_a_mask_without_a_pixel_in_the_image_is_removed(written):
    train = content()
    outside = [[500, 500, 600, 500, 600, 600]]
    train['annotations'][0]['segmentation'] = outside
    train['annotations'][2]['segmentation'] = [[1, 1, 1.1, 1, 1.1, 1.1]]
    train['annotations'][3]['segmentation'] = [TRIANGLE, *outside]
    assert problems(written(train=train)) == {
        'objects whose mask has no pixel inside the image': (REPAIRED, 2, 'object 1')
    }


@pytest.mark.parametrize('far', [1e7, 1e9, 1e308])
def test_polygons_far_outside_never_reach_pycocotools(written, far):
    """The C code of pycocotools would end the interpreter."""
    train = changed('annotations', 0, segmentation=[[1, 1, far, 1, far, far]])
    assert problems(written(train=train)) == {
        'objects without a valid polygon': (REPAIRED, 1, 'object 1')
    }


def test_a_polygon_that_would_take_all_memory_is_removed(written):
    train = changed('annotations', 0, segmentation=[[1, 1, 9e5, 1, 1, 9e5] * 10_000])
    assert 'objects without a valid polygon' in problems(written(train=train))


@pytest.mark.parametrize(
    'counts', ['', 'o', 'n' * 999, '~', 'ü', 'PP4', 'o' * 40, [1199], [-1, 1201], [10**30]]
)
def test_an_impossible_encoding_is_an_error(written, counts):
    train = changed('annotations', 0, segmentation=dict(size=[30, 40], counts=counts))
    (found,) = problems(written(train=train), ERROR)
    assert found.startswith(('masks whose run-length', 'entries of "annotations" with a wrong'))


def test_an_encoding_of_more_pixels_than_pycocotools_counts_is_an_error(written):
    train = changed('images', 0, width=2**20, height=2**20)
    train['annotations'][0]['segmentation'] = dict(size=[2**20, 2**20], counts=[2**40])
    assert 'masks whose run-length encoding is invalid' in problems(written(train=train), ERROR)


def test_narrow_boxes_are_widened_within_the_image(written):
    train = content(10)
    train['annotations'][0].update(bbox=[39.8, 5, 0.2, 10])
    train['annotations'][1].update(bbox=[5, 5, 0.5, 0.25])
    checked = check_own_data(written(train=train))
    assert [p.what for p in checked.findings] == ['boxes with a width or height below 1 px']
    objects = checked.splits['train'].content['annotations']
    assert objects[0]['bbox'] == [39, 5, 1, 10] and objects[1]['bbox'] == [4.75, 4.625, 1, 1]


def test_more_than_100_objects_in_an_image_are_a_note(written):
    train = content()
    for number in range(100):
        box = [2, 2, 10, 9 - number / 100]
        train['annotations'].append(dict(train['annotations'][0], id=100 + number, bbox=box))
    found = problems(written(train=train))
    assert found == {'images with more than 100 objects': (NOTE, 1, '0.png has 102')}


def test_a_json_that_is_not_strict_is_written_again(written):
    root = written(train=content())
    text = (root / 'train.json').read_text()
    for data in ('\ufeff' + text, text.replace('"info": {}', '"info": {"a": NaN}')):
        (root / 'train.json').write_text(data)
        checked = check_own_data(root)
        assert [p.level for p in checked.findings] == [REPAIRED]
        assert checked.splits['train'].content['images'] == content()['images']


def test_nesting_that_a_training_could_not_read_is_an_error(written):
    root = written(train=content())
    text = (root / 'train.json').read_text()
    nested = '[' * 800 + ']' * 800
    (root / 'train.json').write_text(text.replace('"info": {}', f'"info": {{"a": {nested}}}'))
    with pytest.raises(UserError, match='nested too deeply'):
        check_own_data(root)


def test_brackets_in_names_are_no_markup(written, capsys):
    root = written(train=changed('categories', 0, name='[/red]cat[red]'))
    folder = root / 'a [' / 'b]'
    folder.mkdir(parents=True)
    (root / 'train').rename(folder / 'train')
    (root / 'train.json').rename(folder / 'train.json')
    assert check_data.main([str(folder)]) == 0
    assert '[/red]cat[red]' in capsys.readouterr().out


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
        'images that are missing': 1,
        'images that cannot be read completely': 1,
        'images whose size differs from the annotations': 1,
        'images that their EXIF data rotates, while their annotations are not rotated': 1,
    }
    assert found['images whose size differs from the annotations'][2] == (
        '2.png is 10x10, the annotations say 40x30'
    )


@pytest.mark.parametrize('orientation', [1, 2, 3, 4])
def test_a_turn_that_the_size_of_an_image_does_not_tell_is_a_note(orientation, written):
    root = written(train=content())
    turned = Image.Exif()
    turned[0x0112] = orientation
    save(root / 'train' / '1.png', exif=turned)
    found = [(f.level, f.examples) for f in check_own_data(root).findings]
    assert found == ([(NOTE, (f'1.png (orientation {orientation})',))] if orientation > 1 else [])


def test_masks_for_some_objects_only_are_an_error(written):
    train = content()
    train['annotations'][3]['segmentation'] = []
    assert problems(written(train=train), ERROR) == {
        'objects without a mask, while others have one': (ERROR, 1, 'object 4')
    }


def test_a_test_split_without_objects_is_not_used(written):
    checked = check_own_data(
        written(train=content(), val=content(2), test=dict(content(1), annotations=[]))
    )
    assert [p.level for p in checked.findings] == [NOTE] and 'test' not in checked.splits


def test_paths_of_another_computer_are_shortened(written):
    train = content()
    train['images'][0]['file_name'] = r'C:\my photos\0.png'
    checked = check_own_data(written(train=train))
    assert [p.level for p in checked.findings] == [REPAIRED]
    assert checked.splits['train'].content['images'][0]['file_name'] == '0.png'


def test_images_are_found_by_names_with_other_capital_letters(written):
    root = written(train=content())
    (root / 'train' / '0.png').rename(root / 'train' / '0.PNG')
    checked = check_own_data(root)
    (found,) = checked.findings
    assert found.level is REPAIRED and found.examples == ('0.png is 0.PNG',)
    assert checked.splits['train'].content['images'][0]['file_name'] == '0.PNG'


def test_ids_and_names_used_twice_are_errors(written):
    train = content()
    train['images'][1]['id'] = 0
    train['categories'] = [dict(id=1, name='cat'), dict(id=2, name='cat')]
    train['annotations'][7]['bbox'] = 'none'
    assert set(problems(written(train=train), ERROR)) == {
        'entries of "annotations" with a wrong "bbox"',
        'image ids that are used several times',
        'category names that are used several times',
    }


def test_categories_in_another_order_than_in_training_are_reordered(written):
    val = content(2)
    # The same objects under other ids, the categories listed the other way round.
    val['categories'] = [dict(id=5, name='dog'), dict(id=3, name='cat')]
    for obj in val['annotations']:
        obj['category_id'] = {1: 3, 2: 5}[obj['category_id']]
    checked = check_own_data(written(train=content(), val=val))
    assert [p.what for p in checked.findings] == ['the list of categories differs from training']
    repaired = checked.splits['val'].content
    assert repaired['categories'] == content()['categories']
    assert repaired['annotations'] == content(2)['annotations']


def test_a_class_that_training_does_not_have_is_an_error(written):
    val = content(2)
    val['categories'][1]['name'] = 'cow'
    found = problems(written(train=content(), val=val), ERROR)
    assert found == {
        'classes that the training annotations do not have': (ERROR, 1, 'cow (2 objects)')
    }


def test_the_group_of_all_categories_that_roboflow_adds_is_not_a_class(written):
    train = content()
    train['categories'] = [
        dict(id=0, name='animals', supercategory='none'),
        *(dict(category, supercategory='animals') for category in train['categories']),
    ]
    checked = check_own_data(written(train=train))
    assert checked.classes == ('cat', 'dog')
    assert [p.examples for p in checked.findings] == [('animals',)]


def test_unused_categories_empty_images_and_shared_images_are_notes(written):
    train = content()
    train['categories'].append(dict(id=3, name='unicorn'))
    train['images'].append(dict(id=8, file_name='8.png', width=SIZE[0], height=SIZE[1]))
    root = written(train=train)
    (root / 'val.json').write_text(json.dumps(dict(train, images=train['images'][:4])))
    found = problems(root)
    assert {level for level, *_ in found.values()} == {NOTE}
    assert found['categories without objects'][2] == 'unicorn'
    assert found['images without objects'][2] == '8.png'
    assert found['images that are also in the training split'][1] == 4


def test_the_files_of_the_user_stay_unchanged(written):
    train = content()
    train['annotations'][0]['id'] = 0
    root = written(train=train)
    before = {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}
    assert check_data.main([str(root)]) == 0
    assert {path: path.read_bytes() for path in root.rglob('*') if path.is_file()} == before


@pytest.mark.parametrize(
    'text', ['{"images": [], "annotations": [], "categories": ', '[1]', '[' * 100_000, '"a" \0']
)
def test_an_unreadable_json_is_an_error_in_one_line_and_exit_code_2(tmp_path, capsys, text):
    (tmp_path / 'train.json').write_text(text + ' "images" "annotations" "categories"')
    assert check_data.main([str(tmp_path / 'train.json')]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1


# --- label maps


@pytest.fixture
def maps(tmp_path):
    """A function that writes images, label maps with these ids, and names; returns the folder."""

    def write(*ids, names=''):
        for number, values in enumerate(ids):
            array = np.resize(np.array(values, np.uint8), (SIZE[1], SIZE[0]))
            save(tmp_path / 'images' / f'{number}.png')
            save(tmp_path / 'masks' / f'{number}.png', array)
        (tmp_path / 'classes.txt').write_text(names) if names else None
        return tmp_path

    return write


def labels(root):
    classes = check_own_data(root).labels
    return classes.names, classes.reduce_zero_label


def test_names_and_ids_tell_whether_zero_is_a_class(maps):
    assert labels(maps([0, 1, 255], [0, 2], names='sky\ntree\nroad')) == (
        ('sky', 'tree', 'road'),
        False,
    )
    assert labels(maps([0, 1], [0, 2], names='tree\nroad')) == (('tree', 'road'), True)


def test_without_names_classes_are_called_by_their_ids(maps):
    root = maps([0, 1], [0, 2])
    assert labels(root) == (('class 0', 'class 1', 'class 2'), False)
    what = 'no class names, so they are called class 0, class 1, class 2'
    assert problems(root) == {what: (NOTE, 0)}


def test_colours_may_follow_the_names(maps):
    def classes(names):
        return check_own_data(maps([0, 1], [1], names=names)).labels

    with_commas = classes('sky 0 0 255\nold tree, 10, 20, 30')
    assert with_commas == classes('# name r g b\nsky 0 0 255\nold tree 10 20 30')
    assert with_commas.palette == ((0, 0, 255), (10, 20, 30))


def test_ids_beyond_the_classes_and_255_for_a_class_are_errors(maps):
    root = maps([0, 1], [0, 7], names='sky\ntree')
    assert problems(root) == {'label maps with ids that have no class': (ERROR, 1, '1 has 7')}
    (root / 'classes.txt').unlink()
    found = problems(maps([0, 255], [0]), ERROR)
    assert found == {'all ids are 0 and 255': (ERROR, 0)}


def test_different_endings_and_shared_images_of_splits_are_found(maps):
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
        'names that end differently than in training': (ERROR, 2, '0.png'),
        'images that are also in the training split': (NOTE, 1, '0.png'),
    }


def test_images_and_label_maps_that_do_not_fit_are_errors(maps):
    root = maps([0, 1], [0, 1], [0, 1], [0, 1], [0, 1], names='sky\ntree')
    (root / 'masks' / '0.png').unlink()
    save(root / 'masks' / '1.png', np.zeros((5, 5), np.uint8))
    save(root / 'masks' / '2.png')
    (root / 'images' / '3.png').write_bytes(b'no image')
    save(root / 'images' / '5.jpg')
    found = problems(root, ERROR)
    unreadable = found.pop('images that cannot be read completely')
    assert unreadable[2].startswith('3.png: UnidentifiedImageError')
    assert {what: example for what, (_, _, example) in found.items()} == {
        'images without a label map': '0',
        'label maps whose size differs from their image': '1: 5x5 for an image of 40x30',
        'files that are not label maps': '2.png: mode RGB: 3 channels',
        'images whose names do not end in .png': '5.jpg',
    }


# --- both kinds


def test_validation_images_are_chosen_by_seed_the_same_share_of_those_without_objects():
    names = [f'{i:03d}' for i in range(100)]
    chosen = choose_validation(names[:50], names[50:])
    assert chosen == choose_validation(names[:50][::-1], names[50:])
    assert len(chosen) == 20 and len(chosen & set(names[:50])) == 10
    assert choose_validation(['a', 'b'], []) < {'a', 'b'}


def test_one_image_is_too_few_to_split(written):
    (finding,) = check_own_data(written(train=content(1))).findings
    assert (finding.level, finding.where) == (ERROR, 'train')
    assert finding.what == 'too few annotated images to take some for validation'
    assert 'the number is 1' in finding.remedy


def test_a_problem_without_examples_is_no_finding():
    problem = Problem(ERROR, 'images of {folder}', 'copy them to {folder}')
    (finding,) = problem.cases('train', range(1234), folder='{a}')
    assert finding.text == 'images of {a}: 1,234 (0, 1, 2 and 1,231 more)'
    assert (finding.where, finding.remedy) == ('train', 'copy them to {a}')
    assert not list(problem.cases('train', [], folder='a'))
    assert problem.finding('', folder='a').text == 'images of a'


@pytest.mark.parametrize('name', ['coco_mini', 'nuclei', 'scenes_ade_layout'])
def test_real_sets_have_no_errors_and_need_no_repair(name):
    if not (DATA / name).exists():
        pytest.skip(f'needs {name}')
    assert {p.level for p in check_own_data(DATA / name).findings} <= {NOTE}
