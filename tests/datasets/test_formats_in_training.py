"""What a training reads of each format, and a perfect detector scores on it."""

import contextlib
import io
import json

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.datasets.own.check import check_own_data
from tests.datasets.hostile_coco import Judge
from tests.datasets.other_formats import WITHOUT_SPLITS, WRITERS, sample
from tests.datasets.test_annotation_formats import written


@pytest.fixture(scope='module')
def judge(tmp_path_factory):
    MMLogger.get_instance('formats', log_level='ERROR')
    return Judge(tmp_path_factory.mktemp('formats') / 'data')


@pytest.mark.parametrize('name', WRITERS)
def test_a_perfect_detector_scores_1_on_every_format(judge, tmp_path, name):
    polygons = WRITERS[name].polygons
    splits = ('',) if name in WITHOUT_SPLITS else ('train', 'val')
    root = written(tmp_path / 'data', name, sample(polygons, splits))
    files = {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}
    checked = check_own_data(root)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        adapt_to_own_data(judge.recipe, root)
    assert f'objects in {WRITERS[name].format} format, 3 classes: cat, größe' in output.getvalue()
    cfg = Config.fromfile(judge.work_dir / 'own_data.py')
    assert cfg.val_evaluator.metric == (['bbox', 'segm'] if polygons else 'bbox')
    # Nine objects, in both splits together.
    assert sum(judge.objects_scored(cfg, split, checked) for split in ('train', 'val')) == 9
    assert {path: path.read_bytes() for path in root.rglob('*') if path.is_file()} == files
    content = json.loads((judge.work_dir / 'own_data' / 'train.json').read_text())
    assert any('img_0' in obj['place'] for obj in content['annotations'])
