"""Any COCO JSON is refused with a message, or a perfect detector scores 1 on it.

`benchmarks/hostile_data.py` tries thousands of cases.
"""

import pytest
from hypothesis import given, settings
from mmengine.logging import MMLogger

from tests.datasets import hostile_coco
from tests.generated import REPEATABLE


@pytest.fixture(scope='module')
def judge(tmp_path_factory):
    MMLogger.get_instance('hostile', log_level='ERROR')
    folder = tmp_path_factory.mktemp('hostile') / 'data'
    hostile_coco.write_images(folder)
    return hostile_coco.Judge(folder)


def test_correct_data_sets_are_accepted(judge):
    for kinds in (('polygons',), ('counts',), ('compressed',), ('',)):
        assert judge(hostile_coco.encoded(hostile_coco.data_set(kinds))) == 'accepted'


def test_images_below_32_px_are_trained_on(judge):
    content = hostile_coco.data_set()
    small = [image['id'] for image in content['images'] if image['width'] < 32]
    for entries, key in (('images', 'id'), ('annotations', 'image_id')):
        content[entries] = [entry for entry in content[entries] if entry[key] in small]
    assert len(small) == 2 and judge(hostile_coco.encoded(content)) == 'accepted'


def test_every_key_with_hostile_values_is_refused_or_a_perfect_detector_scores_1(judge):
    cases = list(hostile_coco.sweep())[::41]
    outcomes = [judge(data, ('train', 'val')[i % 2]) for i, (_, data) in enumerate(cases)]
    assert {'refused', 'repaired', 'accepted'} == set(outcomes)


@settings(REPEATABLE, max_examples=80)
@given(case=hostile_coco.cases())
def test_random_values_are_refused_or_a_perfect_detector_scores_1(judge, case):
    judge(case[1])


def test_the_judge_notices_what_a_training_would_lose(judge, monkeypatch):
    """A judge that cannot fail would prove nothing."""
    content = hostile_coco.data_set()
    content['annotations'][0]['bbox'] = [2, 2, 0.5, 9]
    monkeypatch.setattr('convnext_mm.datasets.own.coco.objects._widened', lambda boxes, _: boxes)
    with pytest.raises(hostile_coco.Wrong, match='a perfect detector scores'):
        judge(hostile_coco.encoded(content))
