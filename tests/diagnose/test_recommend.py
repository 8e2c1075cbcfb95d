"""The recipe that is recommended fits the data and the machine, and its command works."""

import argparse
import json
import math
import shlex

import cv2
import pytest

from convnext_mm.cli.options import add_config_options
from convnext_mm.config.reading import load_config
from convnext_mm.datasets.own.check import check_own_data
from convnext_mm.datasets.own.statistics import statistics
from convnext_mm.diagnose.recommend.advice import _command, as_text, needs_of, recommend
from convnext_mm.diagnose.recommend.picture import draw_data
from convnext_mm.diagnose.recommend.rules import PHOTOS, RULES, Needs, choose
from tests.conftest import run_tool

FINETUNE, FINETUNE_CASCADE = 'mask_rcnn/convnext_t_finetune', 'cascade/convnext_t_finetune'
LARGE, NUCLEI = 'cascade/convnext_b_in22k_coco', 'cascade/convnext_atto_nuclei'
TINY_MAPS, LARGE_MAPS = 'upernet/convnext_t_ade20k', 'upernet/convnext_b_in22k_ade20k'
OPTIONS = argparse.ArgumentParser()
add_config_options(OPTIONS)


@pytest.mark.parametrize(
    'needs, recipe',
    [
        (Needs('coco', 50, 0, 100), PHOTOS),
        (Needs('coco', 50_000, 0, 100), PHOTOS),
        (Needs('coco', 50, 6, 100), PHOTOS),
        (Needs('coco', 120, 0, 16, image_px=256), NUCLEI),
        (Needs('coco', 120, 0, 16, image_px=640), PHOTOS),
        (Needs('coco', 120, 0, 100, image_px=256), PHOTOS),
        (Needs('coco', 50, 8, 100), FINETUNE),
        (Needs('coco', 50, 80, 100), FINETUNE),
        (Needs('coco', 500, 12, 100), FINETUNE),
        (Needs('coco', 500, 24, 100), FINETUNE_CASCADE),
        (Needs('coco', 5_000, 24, 100), FINETUNE_CASCADE),
        (Needs('coco', 5_000, 80, 100), LARGE),
        (Needs('coco', 50_000, 80, 100), LARGE),
        (Needs('maps', 50, 0), TINY_MAPS),
        (Needs('maps', 5_000, 12), TINY_MAPS),
        (Needs('maps', 5_000, 24), LARGE_MAPS),
    ],
)
def test_data_and_machine_decide_the_recipe(needs, recipe):
    assert choose(needs).recipe == recipe


def test_many_images_get_more_steps_within_limits():
    def steps(images):
        return choose(Needs('coco', images, 0, 100)).options.get('train_cfg.max_iters', 2_000)

    assert [steps(n) for n in (2, 400, 500, 4_000, 50_000)] == [2_000, 2_000, 2_500, 20_000, 20_000]


def test_a_model_that_knows_coco_is_the_start_unless_there_are_as_many_images():
    few, many = (choose(Needs('coco', images, 80, 100)) for images in (5_000, 50_000))
    assert few.options['load_from'] == 'cascade_mask_rcnn_convnext_base_in22k_coco'
    assert 'load_from' not in many.options


@pytest.mark.parametrize(
    'rule', [r for r in RULES if r.options], ids=lambda rule: f'{rule.recipe}-{rule.gpu_gb}'
)
def test_the_command_of_each_rule_names_settings_that_exist(rule):
    words = shlex.split(_command(rule, '/data/my photos'))
    *command, recipe, data, path = words[:5]
    rest = words[5:]
    assert command == ['convnext-mm', 'train']
    assert (recipe, data, path) == (rule.recipe, '--data', '/data/my photos')
    assert ('--accumulate' in rest) is rule.accumulate
    given = OPTIONS.parse_args([word for word in rest if word != '--accumulate']).cfg_options
    cfg = load_config(recipe, given)
    for key, value in rule.options.items():
        node = cfg
        for part in key.split('.'):
            node = node[int(part)] if part.isdecimal() else node[part]
        assert node == value


@pytest.fixture(scope='module')
def shapes(shapes_coco):
    return check_own_data(shapes_coco)


def test_the_needs_are_those_of_the_images_with_objects(shapes):
    train = statistics(shapes)['train']
    needs = needs_of(shapes, train, 12)
    assert (needs.kind, needs.images, needs.gpu_gb, needs.image_px) == ('coco', 16, 12, 64)
    objects = shapes.splits['train'].content['annotations']
    sizes = sorted(math.sqrt(obj['bbox'][2] * obj['bbox'][3]) for obj in objects)
    assert needs.object_px == pytest.approx(320 / 64 * sizes[len(sizes) // 2], rel=0.1)


def test_the_schedule_is_the_one_that_training_prints(shapes, shapes_coco):
    small = recommend(shapes, shapes_coco, 0, measure=False)
    assert (small.schedule.steps, small.schedule.images) == (2_000, 4)
    assert small.schedule.hours is None and small.anchors == (32, 512)
    # 12 epochs of 16 images, repeated 21 times to reach 1,000 steps of 4.
    large = recommend(shapes, shapes_coco, 8, measure=False)
    assert (large.schedule.steps, large.schedule.images) == (12 * 21 * 4, 4)
    text = as_text(shapes, statistics(shapes), large)
    assert 'recommended: mask_rcnn/convnext_t_finetune' in text
    assert text.endswith(large.command) and '1,008 steps of 4 images' in text


def test_small_objects_get_a_warning_with_the_size_of_tiles(tmp_path, shapes_coco, shapes):
    content = json.loads((shapes_coco / 'annotations' / 'instances_train.json').read_text())
    for obj in content['annotations']:
        obj['bbox'][2:] = [2, 2]
        del obj['segmentation']
        obj['area'] = 4
    (tmp_path / 'train.json').write_text(json.dumps(content))
    (tmp_path / 'images').symlink_to(shapes_coco / 'train')
    advice = recommend(check_own_data(tmp_path), tmp_path, 0, measure=False)
    # 2 of 64 px, in images of 512 px: 16 px, the smallest anchor, is reached. In the test it is.
    assert advice.recipe == NUCLEI
    assert not any('hard to find' in warning for warning in advice.warnings)
    assert any('without its mask head' in reason for reason in advice.reasons)
    fine = recommend(check_own_data(tmp_path), tmp_path, 24, measure=False)
    assert fine.scale == (1333, 800)
    assert not any('hard to find' in warning for warning in fine.warnings)
    for obj in content['annotations']:
        obj['bbox'][2:] = [1, 1]
        obj['area'] = 1
    (tmp_path / 'train.json').write_text(json.dumps(content))
    fine = recommend(check_own_data(tmp_path), tmp_path, 24, measure=False)
    # 1 of 64 px is 12.5 of 800 px. In tiles of 25 px it is 32 px.
    (warning,) = (warning for warning in fine.warnings if 'hard to find' in warning)
    assert '100% of the objects are smaller than 16 px' in warning and 'about 25 px' in warning


def test_the_picture_shows_images_objects_and_classes(shapes, shapes_coco, tmp_path):
    advice = recommend(shapes, shapes_coco, 0, measure=False)
    path = draw_data(statistics(shapes)['train'], advice, tmp_path / 'data.png')
    image = cv2.imread(str(path))
    thirds = [image[:, i * 400 : (i + 1) * 400] for i in range(3)]
    assert image.shape == (380, 1200, 3) and all(third.std() > 10 for third in thirds)


def test_the_tool_recommends_for_label_maps_and_says_what_it_did_not_measure(shapes_ade):
    done = run_tool('recommend.py', shapes_ade, '--gpu-gb', '12', '--json')
    assert done.code == 0, done.output
    found = json.loads(done.output[done.output.index('{') :])
    assert found['recipe'] == TINY_MAPS
    assert found['schedule'] == dict(steps=1_000, images=16, hours=None)
    assert found['data']['images'] == dict(train=16, val=6) and found['anchors'] is None
    assert sum(one['images'] for one in found['data']['classes'].values()) >= 16


def test_the_time_is_measured_on_this_machine(shapes_coco):
    done = run_tool('recommend.py', shapes_coco)
    assert done.code == 0, done.output
    assert '2,000 steps of 4 images: about ' in done.output
    assert 'This is an estimate: 3 iterations took ' in done.output


def test_data_with_errors_gets_no_recommendation(tmp_path):
    (tmp_path / 'train.json').write_text('{"images": [], "annotations": [], "categories": []}')
    done = run_tool('recommend.py', tmp_path)
    assert done.code == 2 and 'check_data.py' in done.output
