"""Any folder of label maps is refused with a message, or a perfect segmentor scores 100 on it.

`benchmarks/hostile_label_maps.py` tries thousands of cases.
"""

import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.hostile_label_maps import IGNORED, KINDS, judge, quiet, write_case
from tests.generated import REPEATABLE


@pytest.fixture(autouse=True)
def silence():
    quiet()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize('kind', KINDS)
@settings(REPEATABLE, max_examples=8)
@given(data=st.data())
def test_a_hostile_folder_is_refused_or_a_perfect_segmentor_scores_100(kind, data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, 'data')
        root.mkdir()
        case = write_case(root, kind, lambda options: data.draw(st.sampled_from(options)))
        outcome, reason = judge(case, Path(folder, 'work'))
    assert outcome in ('accepted', 'noted', 'refused'), reason


def test_the_judge_notices_names_of_other_ids_and_pixels_that_are_lost(tmp_path):
    """A judge that cannot fail would prove nothing."""
    case = write_case(tmp_path, 'no change', lambda options: options[0])
    assert judge(case, tmp_path / 'work') == ('accepted', '')
    case.names.reverse()
    assert judge(case, tmp_path / 'work') == ('wrong', 'mIoU 0.0 of a perfect segmentor')
    case.names.reverse()
    key = next(iter(case.maps))
    case.maps[key][1, 1] = IGNORED
    outcome, reason = judge(case, tmp_path / 'work')
    assert outcome == 'wrong' and reason.endswith('with a class are ignored, or the reverse')
