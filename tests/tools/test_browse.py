"""tools/browse.py as a user calls it."""

import json
import runpy
import sys

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT, run_tool
from tests.small_models import segmentor


@pytest.fixture
def detector(small_detector, tmp_path):
    path = tmp_path / 'detector.py'
    path.write_text(small_detector)
    return path


@pytest.fixture
def run_here(monkeypatch, capsys, tmp_path):
    """Run the tool in this process, which is faster."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['browse.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as finished:
            runpy.run_path(str(ROOT / 'tools' / 'browse.py'), run_name='__main__')
        return finished.value.code, *capsys.readouterr()

    return run


def test_the_sheet_shows_augmented_training_images_of_a_detector(detector, tmp_path):
    done = run_tool('browse.py', detector, '--out', tmp_path / 'sheet.png')
    assert done.code == 0, done.output
    assert (
        f'12 of the 16 images of train_dataloader are drawn in {tmp_path}/sheet.png' in done.output
    )
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    assert sheet.shape[1] > 1700 and sheet.shape[0] > 1300  # three rows of four
    # The frames and labels of circles are in the colour the config gives them.
    assert (sheet[..., ::-1] == (230, 80, 70)).all(2).sum() > 100


def test_the_same_seed_gives_the_same_sheet_and_another_seed_another_sheet(
    run_here, detector, tmp_path
):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        code, output, _ = run_here(
            detector, '--count', 3, '--seed', seed, '--out', tmp_path / f'{name}.png'
        )
        assert code == 0 and '3 of the 16 images' in output
    a, b, c = (cv2.imread(str(tmp_path / f'{name}.png')) for name in 'abc')
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_label_maps_of_a_segmentor_are_drawn_and_all_validation_images_can_be(
    run_here, shapes_ade, tmp_path
):
    config = tmp_path / 'segmentor.py'
    config.write_text(segmentor(shapes_ade))
    code, output, _ = run_here(config, '--split', 'val', '--count', '100')
    assert code == 0 and '6 of the 6 images of val_dataloader' in output
    sheet = cv2.imread(str(tmp_path / 'work_dirs' / 'segmentor' / 'val.png'))
    # The names of the classes are written on their colours; the background is not painted.
    counts = [(sheet[..., ::-1] == (30 * i, 0, 255 - 30 * i)).all(2).sum() for i in range(7)]
    assert counts[0] == 0 and sum(counts) > 1000
    assert run_here(config, '--count', '2')[0] == 0


def test_boxes_without_masks_are_drawn(run_here, detector, tmp_path):
    path = tmp_path / 'boxes.py'
    path.write_text(
        f"_base_ = '{detector}'\n"
        'pipeline = [dict(step, with_mask=False) if "with_mask" in step else step '
        'for step in _base_.train_pipeline]\n'
        'train_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
        'model = dict(data_preprocessor=None)\n'
    )
    assert run_here(path, '--count', 2)[0] == 0


@pytest.mark.parametrize('first', ['LoadAnnotations', 'Resize'])
def test_a_box_is_on_its_object_wherever_the_pipeline_loads_the_annotations(
    run_here, detector, tmp_path, first
):
    x, y, width, height = 40, 10, 30, 40
    image = np.zeros((60, 80, 3), np.uint8)
    image[y : y + height, x : x + width] = 255
    cv2.imwrite(str(tmp_path / 'one.png'), image)
    box = dict(id=1, image_id=1, category_id=1, bbox=[x, y, width, height], area=1200, iscrowd=0)
    content = dict(
        images=[dict(id=1, file_name='one.png', width=80, height=60)],
        annotations=[box],
        categories=[dict(id=1, name='sheet')],
    )
    (tmp_path / 'one.json').write_text(json.dumps(content))
    steps = [
        "dict(type='Resize', scale=(100, 400), keep_ratio=False)",
        "dict(type='LoadAnnotations', with_bbox=True)",
    ]
    steps = steps if first in steps[0] else steps[::-1]
    steps.append("dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1))")  # it loads none
    path = tmp_path / 'one.py'
    path.write_text(
        f"_base_ = '{detector}'\n"
        f"val_dataloader = dict(dataset=dict(data_root='{tmp_path}', ann_file='one.json',\n"
        "    metainfo=dict(classes=('sheet',), palette=[(250, 0, 0)]), data_prefix=dict(img=''),\n"
        f"    pipeline=[dict(type='LoadImageFromFile'), {', '.join(steps)},\n"
        "    dict(type='PackDetInputs', meta_keys=())]))\n"
        "val_evaluator = dict(ann_file='one.json')\n"
    )
    code, output, errors = run_here(path, '--split', 'val', '--out', tmp_path / 'val.png')
    assert (code, errors) == (0, '') and 'index created' not in output
    sheet = cv2.imread(str(tmp_path / 'val.png')).astype(int)
    blue, _, red = np.moveaxis(sheet[51:-12, 12:-12], 2, 0)
    object_box, drawn_box = (
        (found.min(0), found.max(0))
        for found in (np.argwhere(blue > 200), np.argwhere(red > blue + 80))
    )
    np.testing.assert_allclose(drawn_box, object_box, atol=12)  # of 440 px, and blurred


def test_a_data_set_without_images_of_its_classes_is_an_error(
    run_here, detector, shapes_coco, tmp_path
):
    other = tmp_path / 'other.json'
    content = json.loads((shapes_coco / 'annotations' / 'instances_train.json').read_text())
    for category in content['categories']:
        category['name'] += 's'
    other.write_text(json.dumps(content))
    code, _, errors = run_here(
        detector, '--cfg-options', f'train_dataloader.dataset.ann_file={other}'
    )
    assert code == 2
    assert 'has no images. Check that metainfo.classes and the categories' in errors


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['no.py'], 'error: no.py: no such file'),
        ([ROOT / 'configs/cascade/convnext_t_coco.py'], 'error: the data set is not there'),
        (
            ['detector.py', '--out', 'sheet.jpg'],
            'error: sheet.jpg: the file must end in .png',
        ),
        (['detector.py', '--count', '0'], 'error: number of images 0: it must be at least 1'),
        (['detector.py', '--split', 'test'], "invalid choice: 'test'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_line(run_here, detector, arguments, message):
    code, _, errors = run_here(*arguments)
    assert code == 2 and message in errors and 'Traceback' not in errors
