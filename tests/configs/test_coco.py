"""The COCO configs against figures typed from the authors' recipes, not from the configs."""

from typing import NamedTuple

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope

from convnext_mm.config.model import build_on_meta
from convnext_mm.datasets.shapes.scenes import CLASSES
from convnext_mm.weights.zoo import ZOO
from tests.conftest import ROOT


class Recipe(NamedTuple):
    """A row of the authors' table."""

    arch: str
    weights: str
    lr: float
    decay_rate: float
    drop_path: float
    precision: str
    millions: int


RECIPES = {
    'mask_rcnn/convnext_t': Recipe('tiny', 'tiny_1k_224', 1e-4, 0.95, 0.4, 'amp', 48),
    'cascade/convnext_t': Recipe('tiny', 'tiny_1k_224', 2e-4, 0.7, 0.4, 'amp', 86),
    'cascade/convnext_s': Recipe('small', 'small_1k_224', 2e-4, 0.7, 0.6, 'amp', 108),
    'cascade/convnext_b': Recipe('base', 'base_1k_224', 2e-4, 0.8, 0.7, 'amp', 146),
    'cascade/convnext_b_in22k': Recipe('base', 'base_22k_224', 1e-4, 0.8, 0.6, 'amp', 146),
    'cascade/convnext_l_in22k': Recipe('large', 'large_22k_224', 1e-4, 0.7, 0.7, 'fp32', 255),
    'cascade/convnext_xl_in22k': Recipe('xlarge', 'xlarge_22k_224', 1e-4, 0.7, 0.8, 'fp32', 407),
}


@pytest.fixture(params=RECIPES, scope='module')
def recipe(request):
    return Config.fromfile(ROOT / f'configs/{request.param}_coco.py'), RECIPES[request.param]


def test_optimizer_and_schedule_are_the_authors(recipe):
    cfg, expected = recipe
    wrapper = cfg.optim_wrapper
    optimizer = {k: v for k, v in wrapper.optimizer.items() if k != '_scope_'}
    assert optimizer == dict(type='AdamW', lr=expected.lr, betas=(0.9, 0.999), weight_decay=0.05)
    wrappers = dict(amp='AmpOptimWrapper', fp32='OptimWrapper')
    assert wrapper.type == wrappers[expected.precision] and 'clip_grad' not in wrapper
    decay = dict(decay_rate=expected.decay_rate, decay_type='layer_wise')
    assert wrapper.paramwise_cfg == decay
    warmup, steps = cfg.param_scheduler
    assert (warmup.start_factor, warmup.begin, warmup.end, warmup.by_epoch) == (
        0.001,
        0,
        500,
        False,
    )
    assert (steps.milestones, steps.gamma, steps.by_epoch) == ([27, 33], 0.1, True)
    assert cfg.train_cfg.max_epochs == 36
    # 8 GPUs x 2 images.
    assert cfg.train_dataloader.batch_size == 2 and cfg.auto_scale_lr.base_batch_size == 16
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.drop_path_rate) == (expected.arch, expected.drop_path)
    assert backbone.layer_scale_init_value == 1.0
    assert ZOO[backbone.init_cfg.checkpoint].source == (
        f'https://dl.fbaipublicfiles.com/convnext/convnext_{expected.weights}.pth'
    )


def test_augmentation_is_the_authors(recipe):
    (loader,) = recipe[0].train_dataloader.dataset.pipeline
    assert loader.type == 'convnext_mm.datasets.loader.FastPipeline'
    load, annotations, flip, choice, _ = loader.transforms
    sides = [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]
    short_sides = [(side, 1333) for side in sides]
    assert (load.type, annotations.type, flip.prob) == (
        'LoadImageFromFile',
        'LoadAnnotations',
        0.5,
    )
    (resize,), (first, crop, second) = choice.transforms
    assert resize.scales == second.scales == short_sides
    assert first.scales == [(400, 1333), (500, 1333), (600, 1333)]
    assert (crop.crop_type, crop.crop_size) == ('absolute_range', (384, 600))
    assert crop.allow_negative_crop
    assert recipe[0].model.data_preprocessor.pad_size_divisor == 32


def test_testing_is_the_authors(recipe):
    cfg, _ = recipe
    rcnn = cfg.model.test_cfg.rcnn
    assert (rcnn.nms.type, rcnn.nms.iou_threshold) == ('nms', 0.5)
    assert (rcnn.score_thr, rcnn.max_per_img) == (0.05, 100)
    resize = next(t for t in cfg.test_dataloader.dataset.pipeline if t.type == 'Resize')
    assert resize.scale == (1333, 800)


def test_cascade_heads_are_the_authors():
    cfg = Config.fromfile(ROOT / 'configs/cascade/convnext_t_coco.py')
    heads = cfg.model.roi_head.bbox_head
    stds = [(0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067)]
    for head, std in zip(heads, stds, strict=True):
        assert head.type == 'ConvFCBBoxHead'
        assert (head.num_shared_convs, head.num_shared_fcs) == (4, 1)
        assert (head.conv_out_channels, head.fc_out_channels) == (256, 1024)
        assert head.norm_cfg.type == 'SyncBN'
        assert head.reg_decoded_bbox and not head.reg_class_agnostic
        assert (head.loss_bbox.type, head.loss_bbox.loss_weight) == ('GIoULoss', 10.0)
        assert tuple(head.bbox_coder.target_stds) == std
        assert head.num_classes == 80
    thresholds = [stage.assigner.pos_iou_thr for stage in cfg.model.train_cfg.rcnn]
    assert thresholds == [0.5, 0.6, 0.7]


def test_the_model_builds_with_the_published_number_of_parameters(recipe):
    cfg, expected = recipe
    model = build_on_meta(cfg)
    assert tuple(cfg.model.neck.in_channels) == model.backbone.out_channels
    found = sum(p.numel() for p in model.parameters()) / 1e6
    assert found == pytest.approx(expected.millions, rel=0.02)


def test_the_v2_recipe_is_mmdetections():
    cfg = Config.fromfile(ROOT / 'configs/mask_rcnn/convnext_v2_b_coco.py')
    backbone, wrapper = cfg.model.backbone, cfg.optim_wrapper
    assert (backbone.arch, backbone.drop_path_rate) == ('v2_base', 0.4)
    assert backbone.layer_scale_init_value == 0
    assert ZOO[backbone.init_cfg.checkpoint].source.endswith('convnextv2_base_1k_224_fcmae.pt')
    assert (wrapper.type, wrapper.optimizer.lr) == ('AmpOptimWrapper', 1e-4)
    assert wrapper.paramwise_cfg == dict(decay_rate=0.95, decay_type='layer_wise')
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (4, 32)
    warmup, steps = cfg.param_scheduler
    assert (warmup.start_factor, warmup.end, steps.milestones) == (0.001, 1000, [27, 33])
    assert (cfg.train_cfg.max_epochs, cfg.model.test_cfg.rcnn.nms.type) == (36, 'soft_nms')
    (loader,) = cfg.train_dataloader.dataset.pipeline
    pipeline = {t.type: t for t in loader.transforms}
    assert list(pipeline) == [
        *('LoadImageFromFile', 'LoadAnnotations', 'RandomResize', 'RandomCrop'),
        *('FilterAnnotations', 'RandomFlip', 'PackDetInputs'),
    ]
    assert pipeline['RandomResize'].scale == pipeline['RandomCrop'].crop_size == (1024, 1024)
    assert pipeline['RandomResize'].ratio_range == (0.1, 2.0)


@pytest.mark.parametrize(
    'name, trained',
    [
        ('convnext_v2_b_coco', 'all'),
        ('convnext_v2_t_coco', 'all'),
        ('dinov3_convnext_t_coco', 'all'),
        ('dinov3_convnext_t_frozen_coco', 'norms'),
    ],
)
def test_other_weights_recipes_build_and_train_what_they_say(name, trained):
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / f'configs/mask_rcnn/{name}.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert tuple(cfg.model.neck.in_channels) == model.backbone.out_channels
    assert ZOO[cfg.model.backbone.init_cfg.checkpoint].arch == cfg.model.backbone.arch
    names = [n for n, p in model.backbone.named_parameters() if p.requires_grad]
    if trained == 'norms':
        assert names == [f'norm{i}.{kind}' for i in range(4) for kind in ('weight', 'bias')]
    else:
        assert len(names) == len(list(model.backbone.parameters()))
    for transform in cfg.train_pipeline:
        TRANSFORMS.build(transform)


@pytest.mark.parametrize(
    'name',
    [
        *('cascade/convnext_atto_shapes.py', 'cascade/convnext_atto_nuclei.py'),
        'cascade/convnext_v2_atto_photos.py',
    ],
)
def test_a_small_config_is_consistent(name):
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs' / name)
    classes = cfg.metainfo.classes
    if 'shapes' in name:
        assert tuple(classes) == CLASSES
    model = MODELS.build(cfg.model)
    assert tuple(cfg.model.neck.in_channels) == model.backbone.out_channels
    counts = {head.num_classes for head in model.roi_head.bbox_head}
    counts |= {head.num_classes for head in model.roi_head.mask_head}
    assert counts == {len(classes)}
    for pipeline in ('train_pipeline', 'test_pipeline', 'tta_pipeline'):
        for transform in cfg[pipeline]:
            TRANSFORMS.build(transform)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = cfg[loader].dataset
        inner = dataset.get('dataset', dataset)
        assert inner.metainfo.classes == classes and inner.data_root == cfg.data_root
        assert DATASETS.get('mmdet.' + inner.type)
