"""The page on a data set has its problems, classes, sizes and images."""

import json
import re
import shutil

import pytest

from convnext_mm.cli import check_data
from tests.evaluation.test_report_page import Outline, read_data


@pytest.fixture
def page_of(tmp_path, capsys):
    """A function that writes the page of a data set, and returns the exit code and the page."""

    def write(root):
        path = tmp_path / 'page.html'
        code = check_data.main([str(root), '--report', str(path)])
        assert f'written: {path}' in capsys.readouterr().out.replace('\n', '')
        return code, path

    return write


def test_objects_are_counted_and_images_of_each_class_are_shown(page_of, shapes_coco):
    code, page = page_of(shapes_coco)
    assert code == 0
    content = json.loads((shapes_coco / 'annotations' / 'instances_train.json').read_text())
    rows = {row[0]: row[1:] for row in Outline(page.read_text()).rows}
    images = len(content['images'])
    assert rows['train'][:2] == [str(images), str(len(content['annotations']))]
    for category in content['categories']:
        own = [a for a in content['annotations'] if a['category_id'] == category['id']]
        numbers = [str(len(own)), str(len({a['image_id'] for a in own}))]
        assert rows[category['name']][:2] == numbers
    samples = read_data(page, 'samples')
    assert len(samples) == images
    shapes = [shape for image in samples for shape in image['panes'][0]]
    assert len(shapes) == len(content['annotations'])
    assert all(shape[4].startswith('M') for shape in shapes)  # the outline of the mask
    assert page.read_text().count('<svg') == 2


def test_label_maps_are_shown_beside_their_images(page_of, shapes_ade):
    code, page = page_of(shapes_ade)
    samples = read_data(page, 'samples')
    assert code == 0 and len(samples) == 16
    assert all(len(image['maps']) == 1 and image['classes'] for image in samples)
    assert 'regions in' in page.read_text()


def test_a_data_set_with_errors_has_a_page_that_lists_them(page_of, shapes_coco, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(shapes_coco, root)
    path = root / 'annotations' / 'instances_train.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['category_id'] = 99
    path.write_text(json.dumps(content))
    missing = content['images'][0]['file_name']
    (root / 'train' / missing).unlink()
    code, page = page_of(root)
    levels = [row for row in Outline(page.read_text()).rows if row and row[0] == 'error']
    assert code == 1 and len(levels) == 2
    assert any(missing in row[2] for row in levels) and 'Not ready' in page.read_text()
    assert len(read_data(page, 'samples')) == 15
    assert not re.search('"name":"' + missing, page.read_text())
