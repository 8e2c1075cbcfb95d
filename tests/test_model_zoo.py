"""The pages of the model zoo agree with the configs, and OpenMMLab's tools can read them."""

import modelindex
import pytest

from convnext_mm.weights.zoo import ZOO
from tests.conftest import ROOT, run_tool

# Typed from the paper: box and mask AP, or mIoU and multi-scale mIoU.
PUBLISHED = {
    'configs/mask_rcnn/convnext_t_coco.py': (46.2, 41.7),
    'configs/cascade/convnext_t_coco.py': (50.4, 43.7),
    'configs/cascade/convnext_s_coco.py': (51.9, 45.0),
    'configs/cascade/convnext_b_coco.py': (52.7, 45.6),
    'configs/cascade/convnext_b_in22k_coco.py': (54.0, 46.9),
    'configs/cascade/convnext_l_in22k_coco.py': (54.8, 47.6),
    'configs/cascade/convnext_xl_in22k_coco.py': (55.2, 47.7),
    'configs/upernet/convnext_t_ade20k.py': (46.0, 46.7),
    'configs/upernet/convnext_s_ade20k.py': (48.7, 49.6),
    'configs/upernet/convnext_b_ade20k.py': (49.1, 49.9),
    'configs/upernet/convnext_b_in22k_ade20k.py': (52.6, 53.1),
    'configs/upernet/convnext_l_in22k_ade20k.py': (53.2, 53.7),
    'configs/upernet/convnext_xl_in22k_ade20k.py': (53.6, 54.0),
}


def test_the_pages_agree_with_the_configs(tmp_path):
    done = run_tool('../docs/generators/model_zoo.py', '--to', tmp_path)
    assert done.code == 0, done.output
    for name in ('docs/model_zoo.md', 'model-index.yml'):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), (
            f'{name} is out of date: run docs/generators/model_zoo.py'
        )


def test_openmmlabs_tools_can_read_the_index():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    assert len(index.models) == 13
    files = {weights.source for weights in ZOO.values()}
    for model in index.models:
        assert (ROOT / model.config).is_file() and model.weights in files
        metrics = [value for result in model.results for value in result.metrics.values()]
        assert tuple(metrics) == PUBLISHED[model.config]


@pytest.mark.parametrize('config', PUBLISHED)
def test_the_page_has_the_published_figures(config):
    page = (ROOT / 'docs' / 'model_zoo.md').read_text()
    (row,) = (line for line in page.splitlines() if f'(../{config})' in line)
    first, second = PUBLISHED[config]
    assert f'| {first} | {second} |' in row
