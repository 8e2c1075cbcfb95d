"""Any damaged data set is refused with a message that names a file, or it is usable.

`benchmarks/hostile_data.py --formats 100` tries many more cases.
"""

import pytest

from tests.datasets import hostile_formats


@pytest.mark.filterwarnings('ignore')  # Pillow warns of damaged images
def test_damaged_data_sets_are_refused_with_a_message_or_usable(tmp_path):
    outcomes = set()
    for number, case in enumerate(hostile_formats.cases(4)):
        outcomes.add(hostile_formats.judge(case, tmp_path / str(number))[1])
    assert outcomes >= {'refused', 'accepted'}


def test_the_judge_notices_objects_that_get_lost(tmp_path, monkeypatch):
    """A judge that cannot fail would prove nothing."""
    path = 'convnext_mm.datasets.own.convert._place_images'
    monkeypatch.setattr(hostile_formats, 'DAMAGES', (lambda *_: None,))
    hostile_formats.DAMAGES[0].__name__ = 'none'
    monkeypatch.setattr(path, lambda coco, *_: {i['id']: 'x' for i in coco.content['images']})
    with pytest.raises(hostile_formats.Wrong, match='has errors'):
        hostile_formats.judge(hostile_formats.Case('voc', False, 0), tmp_path / 'case')
