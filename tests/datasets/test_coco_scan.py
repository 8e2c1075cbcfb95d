"""Fields of a COCO JSON, read without parsing the file."""

import json

import pytest

from convnext_mm.datasets.coco_scan import (
    categories,
    image_names,
    is_cut_off,
    missing_keys,
    object_count,
)

CATEGORIES = [dict(id=1, name='a ] b', skeleton=[[1, 2]]), dict(id=2, name='größe')]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'a.json'


def test_names_and_objects_are_found(path):
    names = ['1.png', r'C:\"my" photos\ü.png']
    images = [dict(id=i, file_name=name) for i, name in enumerate(names)]
    objects = [dict(id=i, image_id=0) for i in range(3)]
    path.write_text(json.dumps(dict(images=images, annotations=objects, categories=CATEGORIES)))
    assert not missing_keys(path) and not is_cut_off(path)
    assert list(image_names(path)) == names
    assert object_count(path) == 3
    assert categories(path) == CATEGORIES


def test_categories_are_found_at_any_place_in_the_file(path):
    path.write_text(json.dumps(dict(categories=CATEGORIES, images=[dict(id=1)])))
    assert categories(path) == CATEGORIES


@pytest.mark.parametrize(
    'text, message', [('{"images": []}', 'has no categories'), ('{"categories": [{', 'be read')]
)
def test_missing_categories_are_an_error(path, text, message):
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        categories(path)


def test_other_jsons_and_empty_files_are_not_coco(path):
    path.write_text('{"images": 3}')
    assert missing_keys(path) == ['annotations', 'categories']
    path.write_text('')
    assert missing_keys(path) and is_cut_off(path)
    assert list(image_names(path)) == [] and object_count(path) == 0


def test_a_missing_end_is_noticed(path):
    path.write_text('{"images": [{"id": 1}')
    assert is_cut_off(path)
