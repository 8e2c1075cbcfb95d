"""Data sets that are recognised by the names of their files, and the errors for all others."""

import json

import numpy as np
import pytest
from PIL import Image

from convnext_mm.datasets.own.files import split_of
from convnext_mm.datasets.own.recognise import recognise
from convnext_mm.errors import UserError
from tests.conftest import ROOT

DATA = ROOT.parent / 'shared' / 'data'


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def coco(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [dict(id=i, file_name=name) for i, name in enumerate(names)]
    path.write_text(json.dumps(dict(images=images, annotations=[], categories=[])))


def layout(root):
    """The annotations and images of each split, relative to the folder."""
    return {
        split: (str(paths.annotations.relative_to(root)), str(paths.images.relative_to(root)))
        for split, paths in recognise(root).splits.items()
    }


def test_the_layout_of_coco(tmp_path):
    for split in ('train2017', 'val2017'):
        image(tmp_path / split / '1.png')
        coco(tmp_path / 'annotations' / f'instances_{split}.json', '1.png')
        coco(tmp_path / 'annotations' / f'captions_{split}.json', '1.png')
    assert layout(tmp_path) == {
        'train': ('annotations/instances_train2017.json', 'train2017'),
        'val': ('annotations/instances_val2017.json', 'val2017'),
    }


def test_the_layout_of_roboflow(tmp_path):
    for split in ('train', 'valid', 'test'):
        image(tmp_path / split / '1.png')
        coco(tmp_path / split / '_annotations.coco.json', '1.png')
    assert layout(tmp_path) == {
        'train': ('train/_annotations.coco.json', 'train'),
        'val': ('valid/_annotations.coco.json', 'valid'),
        'test': ('test/_annotations.coco.json', 'test'),
    }


def test_jsons_at_the_top_with_one_folder_of_images(tmp_path):
    for split in ('train', 'val'):
        image(tmp_path / 'photos' / f'{split}.png')
        coco(tmp_path / f'{split}.json', f'{split}.png')
    assert layout(tmp_path) == {s: (f'{s}.json', 'photos') for s in ('train', 'val')}


def test_images_of_the_same_names_are_those_of_the_split(tmp_path):
    for split in ('train', 'val'):
        image(tmp_path / 'images' / split / '1.png')
        coco(tmp_path / f'{split}.json', '1.png')
    assert layout(tmp_path) == {s: (f'{s}.json', f'images/{s}') for s in ('train', 'val')}


@pytest.mark.parametrize('folder', ['{}', '{}2017', 'images/{}', '{}/images'])
@pytest.mark.parametrize('name', ['{}.png', r'C:\export\{}.png'])
def test_a_missing_image_does_not_move_a_split_to_the_folder_of_another(tmp_path, folder, name):
    for split in ('train', 'val'):
        for i in range(60):
            image(tmp_path / folder.format(split) / f'{i}.png')
        coco(tmp_path / 'annotations' / f'{split}.json', *map(name.format, range(60)))
    for i in range(59):  # the first ones, which are looked at first
        (tmp_path / folder.format('val') / f'{i}.png').unlink()
        if i in (0, 58):
            images = {split: folder.format(split) for split in ('train', 'val')}
            assert {split: images for split, (_, images) in layout(tmp_path).items()} == images
            one = recognise(tmp_path / 'annotations' / 'val.json').splits['train']
            assert one.images == tmp_path / images['val']


def test_images_in_the_folder_of_another_split_are_found_there(tmp_path):
    image(tmp_path / 'val' / 'another.png')
    for split in ('train', 'val'):
        image(tmp_path / 'train' / f'{split}.png')
        coco(tmp_path / f'{split}.json', f'{split}.png')
    assert layout(tmp_path) == {s: (f'{s}.json', 'train') for s in ('train', 'val')}


def test_paths_in_the_json_that_name_the_folder_are_used_as_they_are(tmp_path):
    for split in ('train', 'val'):
        for i in range(3):
            image(tmp_path / split / f'{i}.png')
        coco(tmp_path / f'{split}.json', *(f'{split}/{i}.png' for i in range(3)))
    (tmp_path / 'val' / '1.png').unlink()
    assert layout(tmp_path) == {s: (f'{s}.json', '.') for s in ('train', 'val')}


@pytest.mark.parametrize('name', ['images/1.png', '1.png', r'C:\export\1.png'])
def test_one_json_without_splits(tmp_path, name):
    image(tmp_path / 'images' / '1.png')
    coco(tmp_path / 'annotations.json', name)
    (tmp_path / 'other.json').write_text('{"images": 3}')
    folder = '.' if name.startswith('images') else 'images'
    assert layout(tmp_path) == {'train': ('annotations.json', folder)}
    assert recognise(tmp_path / 'annotations.json') == recognise(tmp_path)


def test_without_a_validation_split_the_test_split_is_used_and_noted(tmp_path):
    for split in ('train', 'test'):
        coco(tmp_path / f'{split}.json', '1.png')
    found = recognise(tmp_path)
    assert found.splits['val'] == found.splits['test']
    assert found.notes == ('no validation split: the test split is used for validation',)


def test_the_layout_of_ade20k(tmp_path):
    for split in ('training', 'validation'):
        image(tmp_path / 'images' / split / '1.png')
        image(tmp_path / 'annotations' / split / '1.png')
    assert layout(tmp_path) == {
        'train': ('annotations/training', 'images/training'),
        'val': ('annotations/validation', 'images/validation'),
    }
    assert recognise(tmp_path).like_ade20k


def test_label_maps_with_the_split_first(tmp_path):
    for split in ('train', 'val'):
        image(tmp_path / split / 'images' / '1.png')
        image(tmp_path / split / 'masks' / '1.png')
    assert layout(tmp_path) == {s: (f'{s}/masks', f'{s}/images') for s in ('train', 'val')}
    assert not recognise(tmp_path).like_ade20k


def test_label_maps_without_splits(tmp_path):
    image(tmp_path / 'imgs' / '1.png')
    image(tmp_path / 'labels' / '1.png')
    assert layout(tmp_path) == {'train': ('labels', 'imgs')}


def test_the_split_of_a_name_is_one_of_its_words():
    names = ('instances_val2017', 'Training', 'valid', 'my-test_set', 'retrain', 'evaluation')
    assert [split_of(name) for name in names] == ['val', 'train', 'val', 'test', None, None]


@pytest.mark.parametrize(
    'files, message',
    [
        ((), 'neither a COCO JSON'),
        (('a.json', 'b.json'), 'not clear from their names: a.json, b.json'),
        (('train_a.json', 'train_b.json', 'val.json'), 'train_a.json, train_b.json'),
        (('val.json', 'test.json'), 'there is no training split, only test, val'),
    ],
)
def test_unclear_layouts_are_errors_that_say_why(tmp_path, files, message):
    for name in files:
        coco(tmp_path / name, '1.png')
    with pytest.raises(UserError) as error:
        recognise(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    'name, content, reason',
    [
        ('train.json', b'', 'it is empty, or its end is missing'),
        ('train.json', b'{"images": [], "annotations": [{', 'it is empty, or its end is missing'),
        ('train.json', b'{"images": [], "annotations": []}', "it has no 'categories'"),
        ('train.json', '{"images": []}'.encode('utf-16'), "it has no 'images', 'annotations'"),
        ('data.zip', b'PK', 'it is an archive; unpack it'),
        ('a.jpg', b'{{{', "it has no 'images', 'annotations', 'categories'"),
    ],
)
def test_a_file_that_is_no_coco_json_is_refused_with_the_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        recognise(tmp_path / name)
    assert f'{name}: not a COCO JSON: {reason}' in str(raised.value)
    if name == 'train.json':
        with pytest.raises(UserError) as raised:
            recognise(tmp_path)
        assert f'No COCO JSON is train.json ({reason}' in str(raised.value)


def test_a_split_whose_json_is_cut_off_is_not_passed_over(tmp_path):
    coco(tmp_path / 'train.json', '1.png')
    (tmp_path / 'val.json').write_text('{"images": [], "annotations": [')
    with pytest.raises(UserError, match=r'val\.json: .* its end is missing; .* or remove it'):
        recognise(tmp_path)


def test_a_list_of_test_images_is_no_split(tmp_path):
    coco(tmp_path / 'train.json', '1.png')
    (tmp_path / 'test.json').write_text('{"images": [], "categories": []}')
    assert list(recognise(tmp_path).splits) == ['train']


def test_an_empty_path_is_not_the_current_folder():
    with pytest.raises(UserError, match='the path of the data set is empty'):
        recognise('')


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match='no such file or folder'):
        recognise(tmp_path / 'no')


@pytest.mark.parametrize(
    'name, kind, images',
    [
        ('coco_mini', 'coco', ('train2017', 'val2017')),
        ('nuclei', 'coco', ('train', 'val')),
        ('scenes_ade_layout', 'maps', ('images/training', 'images/validation')),
    ],
)
def test_real_sets_are_recognised(name, kind, images):
    root = DATA / name
    if not root.exists():
        pytest.skip(f'needs {name}')
    found = recognise(root)
    assert found.kind == kind
    assert tuple(folder for _, folder in layout(root.resolve()).values()) == images
