"""The ADE20K configs against figures typed from the authors' recipes, not from the configs."""

from typing import NamedTuple

import pytest
from mmengine.config import Config

from convnext_mm.config.model import build_on_meta
from convnext_mm.weights.zoo import ZOO
from tests.conftest import ROOT


class Recipe(NamedTuple):
    """A row of the authors' table."""

    arch: str
    weights: str
    crop: int
    lr: float
    drop_path: float
    precision: str
    millions: int


RECIPES = {
    't': Recipe('tiny', 'tiny_1k_224', 512, 1e-4, 0.4, 'amp', 60),
    's': Recipe('small', 'small_1k_224', 512, 1e-4, 0.3, 'amp', 82),
    'b': Recipe('base', 'base_1k_224', 512, 1e-4, 0.4, 'amp', 122),
    'b_in22k': Recipe('base', 'base_22k_224', 640, 1e-4, 0.4, 'amp', 122),
    'l_in22k': Recipe('large', 'large_22k_224', 640, 1e-4, 0.4, 'fp32', 235),
    'xl_in22k': Recipe('xlarge', 'xlarge_22k_224', 640, 8e-5, 0.4, 'fp32', 391),
}
# Crop -> stride of the sliding window, size of an image in the single-scale test, and sizes in the
# multi-scale one: ratios 0.5, 0.75, 1, 1.25, 1.5, 1.75 of it.
TEST_SIZES = {
    512: (
        341,
        (2048, 512),
        [(1024, 256), (1536, 384), (2048, 512), (2560, 640), (3072, 768), (3584, 896)],
    ),
    640: (
        426,
        (2560, 640),
        [(1280, 320), (1920, 480), (2560, 640), (3200, 800), (3840, 960), (4480, 1120)],
    ),
}


@pytest.fixture(params=RECIPES, scope='module')
def recipe(request):
    cfg = Config.fromfile(ROOT / f'configs/upernet/convnext_{request.param}_ade20k.py')
    return cfg, RECIPES[request.param]


def test_optimizer_and_schedule_are_the_authors(recipe):
    cfg, expected = recipe
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == dict(
        type='AdamW', lr=expected.lr, betas=(0.9, 0.999), weight_decay=0.05
    )
    wrappers = dict(amp='AmpOptimWrapper', fp32='OptimWrapper')
    assert wrapper.type == wrappers[expected.precision] and 'clip_grad' not in wrapper
    assert wrapper.paramwise_cfg == dict(decay_rate=0.9, decay_type='stage_wise')
    warmup, poly = cfg.param_scheduler
    assert warmup == dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500)
    assert poly == dict(
        type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000
    )
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ('IterBasedTrainLoop', 160000)
    # 8 GPUs x 2 crops.
    assert cfg.train_dataloader.batch_size == 2 and cfg.auto_scale_lr.base_batch_size == 16


def test_backbone_and_heads_are_the_authors(recipe):
    cfg, expected = recipe
    backbone, decode, auxiliary = (
        cfg.model[part] for part in ('backbone', 'decode_head', 'auxiliary_head')
    )
    assert (backbone.arch, backbone.drop_path_rate) == (expected.arch, expected.drop_path)
    assert backbone.layer_scale_init_value == 1.0
    assert ZOO[backbone.init_cfg.checkpoint].source == (
        f'https://dl.fbaipublicfiles.com/convnext/convnext_{expected.weights}.pth'
    )
    assert (decode.type, decode.channels, decode.pool_scales) == ('UPerHead', 512, (1, 2, 3, 6))
    assert (auxiliary.type, auxiliary.channels, auxiliary.num_convs) == ('FCNHead', 256, 1)
    assert (auxiliary.in_index, auxiliary.loss_decode.loss_weight) == (2, 0.4)
    for head in (decode, auxiliary):
        assert (head.num_classes, head.dropout_ratio) == (150, 0.1)
        assert head.norm_cfg == dict(type='SyncBN', requires_grad=True)


def test_crops_and_augmentation_are_the_authors(recipe):
    cfg, expected = recipe
    crop = (expected.crop, expected.crop)
    scale = (4 * expected.crop, expected.crop)
    assert cfg.model.data_preprocessor.size == crop
    (loader,) = cfg.train_dataloader.dataset.pipeline
    assert loader.type == 'convnext_mm.datasets.loader.FastPipeline'
    pipeline = {t.type: t for t in loader.transforms}
    assert list(pipeline) == [
        *('LoadImageFromFile', 'LoadAnnotations', 'RandomResize', 'RandomCrop', 'RandomFlip'),
        *('PhotoMetricDistortion', 'PackSegInputs'),
    ]
    resize = pipeline['RandomResize']
    assert (resize.scale, resize.ratio_range, resize.keep_ratio) == (scale, (0.5, 2.0), True)
    assert (pipeline['RandomCrop'].crop_size, pipeline['RandomCrop'].cat_max_ratio) == (crop, 0.75)
    assert pipeline['RandomFlip'].prob == 0.5
    assert pipeline['LoadAnnotations'].reduce_zero_label


def test_both_tests_are_the_authors(recipe):
    cfg, expected = recipe
    stride, single, multiple = TEST_SIZES[expected.crop]
    assert cfg.model.test_cfg == dict(
        mode='slide', crop_size=(expected.crop, expected.crop), stride=(stride, stride)
    )
    resize = cfg.test_dataloader.dataset.pipeline[1]
    assert (resize.type, resize.scale, resize.keep_ratio) == ('Resize', single, True)
    views, flips, *_ = cfg.tta_pipeline[1].transforms
    assert [view.scale for view in views] == multiple
    assert all(view.type == 'Resize' and view.keep_ratio for view in views)
    assert [flip.prob for flip in flips] == [0.0, 1.0]
    assert cfg.tta_model.type == 'convnext_mm.evaluation.tta.semantic.WholeImageTTAModel'


def test_the_model_builds_with_the_published_number_of_parameters(recipe):
    cfg, expected = recipe
    model = build_on_meta(cfg)
    channels = model.backbone.out_channels
    assert tuple(cfg.model.decode_head.in_channels) == channels
    assert cfg.model.auxiliary_head.in_channels == channels[2]
    found = sum(p.numel() for p in model.parameters()) / 1e6
    assert found == pytest.approx(expected.millions, rel=0.02)
