"""The recipes that fine-tune a published COCO detector on data of one's own."""

import pytest
import torch
from mmengine.config import Config

from convnext_mm.config.model import build_on_meta
from convnext_mm.config.reading import load_checked_config
from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.engine.setup import fetch_weights
from convnext_mm.weights.zoo import ZOO
from tests.conftest import ROOT

METHODS = ('mask_rcnn', 'cascade')
BATCH, MIN_STEPS = 4, 1000


def tensors(cfg):
    return {name: value.shape for name, value in build_on_meta(cfg).state_dict().items()}


@pytest.mark.parametrize('method', METHODS)
def test_the_published_detector_fits_and_only_layers_for_other_classes_start_new(
    method, shapes_coco, tmp_path
):
    published = Config.fromfile(ROOT / f'configs/{method}/convnext_t_coco.py')
    cfg = load_checked_config(ROOT / f'configs/{method}/convnext_t_finetune.py')
    assert cfg.load_from == published.published.weights and cfg.load_from in ZOO
    assert 'init_cfg' not in cfg.model.backbone
    before = tensors(published)
    assert tensors(cfg) == before

    cfg.work_dir = str(tmp_path)
    cfg = adapt_to_own_data(cfg, shapes_coco)
    after = tensors(cfg)
    new = {name for name in before if after[name] != before[name]}
    assert before.keys() == after.keys() and new
    assert all(
        name.startswith('roi_head.')
        and any(layer in name for layer in ('fc_cls', 'fc_reg', 'conv_logits'))
        for name in new
    )
    assert cfg.train_cfg.max_epochs == 12
    repeats = cfg.train_dataloader.dataset.times
    assert 12 * repeats * 16 // BATCH >= MIN_STEPS > 12 * (repeats - 1) * 16 // BATCH
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == BATCH

    if method == 'cascade':  # a file of 340 MB
        return
    # The loading that a training does, with a file of the published names and shapes.
    file = tmp_path / 'published.pth'
    torch.save(dict(state_dict={n: torch.zeros(shape) for n, shape in before.items()}), file)
    cfg.load_from = str(file)
    _, content = fetch_weights(cfg)
    assert content['state_dict'].keys() == before.keys()
