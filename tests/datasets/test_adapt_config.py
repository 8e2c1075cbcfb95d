"""Recipes adapted to other data: every setting that names it, and a schedule for its size."""

import copy
import dataclasses
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DATA_SAMPLERS, DATASETS, init_default_scope

from convnext_mm.config.heads import resize_heads
from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.config.reading import load_config
from convnext_mm.config.schedule import MIN_STEPS
from convnext_mm.config.schedule_checks import cut_off_schedule, late_hooks
from convnext_mm.datasets.own.adapt_config import adapt_config
from convnext_mm.datasets.own.check import check_own_data
from convnext_mm.datasets.own.write import PreparedData, PreparedSplit, write_data
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import as_text
from tests.conftest import ROOT

CLASSES = ('bolt', 'nut', 'washer')
# One of each base, and the two for other data than COCO and ADE20K.
CONFIGS = (
    *('configs/cascade/convnext_t_coco.py', 'configs/mask_rcnn/convnext_v2_t_coco.py'),
    *('configs/cascade/convnext_atto_shapes.py', 'configs/cascade/convnext_atto_nuclei.py'),
    *('configs/upernet/convnext_s_ade20k.py', 'configs/upernet/convnext_b_in22k_ade20k.py'),
)
MASK_RCNN = 'configs/mask_rcnn/convnext_t_coco.py'
UPERNET = 'configs/upernet/convnext_t_ade20k.py'


def data(kind, images=100, **changes):
    root = Path('/data/parts')
    splits = {
        split: PreparedSplit(root / f'images/{split}', root / f'annotations/{split}', count, count)
        for split, count in (('train', images), ('val', 20), ('test', 30))
    }
    prepared = PreparedData(kind, root, CLASSES, [[1, 2, 3], [4, 5, 6], [7, 8, 9]], splits)
    return dataclasses.replace(prepared, **changes)


def adapted(config, *options, **changes):
    cfg = config if isinstance(config, Config) else load_config(ROOT / config)
    kind = 'maps' if cfg.get('default_scope') == 'mmseg' else 'coco'
    return cfg, adapt_config(cfg, data(kind, **changes), options)


@pytest.mark.parametrize('config', CONFIGS)
def test_every_recipe_is_adapted(config):
    cfg, _ = adapted(config)
    segments = cfg.default_scope == 'mmseg'
    for split in ('train', 'val', 'test'):
        (dataset,) = leaf_datasets(cfg[f'{split}_dataloader'])
        assert dataset.metainfo.classes == CLASSES and len(dataset.metainfo.palette) == 3
        assert dataset.type == ('BaseSegDataset' if segments else 'CocoDataset')
        assert dataset.data_root == '/data/parts/' and dataset.pipeline
        assert f'images/{split}' in dataset.data_prefix.values()
    if not segments:
        assert cfg.val_evaluator.ann_file == '/data/parts/annotations/val'
        assert cfg.test_evaluator.ann_file == '/data/parts/annotations/test'
    assert "'reduce_zero_label': True" not in repr(cfg.to_dict())
    assert not re.search(r"'num_classes': (?!3\b)", repr(cfg.to_dict()))


@pytest.mark.parametrize('config', ['configs/cascade/convnext_t_coco.py', UPERNET])
def test_every_head_of_the_model_has_the_classes(config):
    cfg, changes = adapted(config)
    sizes = {
        name: module.num_classes
        for name, module in build_on_meta(cfg).named_modules()
        if hasattr(module, 'num_classes') and name != 'rpn_head'
    }
    assert len(sizes) >= 2 and set(sizes.values()) == {3}
    told = [change for change in changes if 'num_classes = 3' in change]
    assert len(told) == (2 if config == UPERNET else 4)  # three box heads share one mask head


def test_heads_at_any_depth_are_resized_and_an_rpn_is_not():
    model = Config(
        dict(
            backbone=dict(num_classes=1000),
            rpn_head=dict(num_classes=1),
            roi_head=dict(bbox_head=[dict(num_classes=80), dict(num_classes=80)]),
            decode_head=dict(num_classes=150, out_channels=150),
            panoptic_head=dict(
                num_things_classes=80,
                num_stuff_classes=53,
                loss_cls=dict(class_weight=[1.0] * 133 + [0.1]),
            ),
        )
    )._cfg_dict
    changes = list(resize_heads(model, 3))
    assert model.to_dict() == dict(
        backbone=dict(num_classes=1000),
        rpn_head=dict(num_classes=1),
        roi_head=dict(bbox_head=[dict(num_classes=3), dict(num_classes=3)]),
        decode_head=dict(num_classes=3, out_channels=3),
        panoptic_head=dict(
            num_things_classes=3,
            num_stuff_classes=0,
            loss_cls=dict(class_weight=[1.0, 1.0, 1.0, 0.1]),
        ),
    )
    assert 'model.roi_head.bbox_head.1.num_classes = 3' in changes


def test_settings_that_do_not_name_the_replaced_data_stay():
    """MMEngine reads some by name from the config; its Runner has no argument for them."""
    cfg = load_config(ROOT / MASK_RCNN)
    settings = dict(
        sync_bn='torch',
        model_wrapper_cfg=dict(type='MMDistributedDataParallel', static_graph=True),
        activation_checkpointing=['backbone'],
        compile=True,
        efficient_conv_bn_eval='[backbone]',
        find_unused_parameters=True,
        custom_hooks=[dict(type='EMAHook')],
        randomness=dict(seed=3),
        of_a_hook_of_the_user=dict(answer=42),
    )
    for key, value in settings.items():
        cfg[key] = value
    before = set(cfg)
    adapted(cfg)
    assert {key: cfg[key] for key in settings} == settings
    gone = {'data_root', 'dataset_type', 'published'}  # of COCO
    used = {'train_pipeline', 'fast_pipeline', 'test_pipeline', 'backend_args', 'short_sides'}
    used |= {'max_epochs'}
    assert before - set(cfg) == gone | used | {'vis_backends'}


def test_wrapped_data_sets_stay_wrapped_and_joined_ones_become_one():
    cfg = load_config(ROOT / MASK_RCNN)
    leaf = cfg.train_dataloader.dataset
    joined = dict(type='ConcatDataset', datasets=[copy.deepcopy(leaf), copy.deepcopy(leaf)])
    mixing = dict(type='MultiImageMixDataset', dataset=joined, pipeline=[dict(type='Mosaic')])
    cfg.train_dataloader.dataset = mixing
    adapted(cfg, images=100_000)
    assert cfg.train_dataloader.dataset.type == 'MultiImageMixDataset'
    assert cfg.train_dataloader.dataset.pipeline == [dict(type='Mosaic')]
    assert cfg.train_dataloader.dataset.dataset.metainfo.classes == CLASSES


@pytest.mark.parametrize(
    'name, wrappers',
    [
        ('lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py', ['Repeat', 'ClassBalanced', 'Coco']),
        ('openimages/faster-rcnn_r50_fpn_32xb2-cas-1x_openimages.py', ['Repeat', 'Coco']),
    ],
)
def test_a_recipe_that_balances_classes_loads_repeated_images(
    name, wrappers, shapes_coco, tmp_path
):
    """MMDetection's own recipes and data sets, on 16 images."""
    checked = check_own_data(shapes_coco)
    cfg = get_config(f'mmdet::{name}')
    changes = adapt_config(cfg, write_data(checked, tmp_path))
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    sampler = DATA_SAMPLERS.build(dict(cfg.train_dataloader.sampler, dataset=dataset))
    assert len(list(sampler)) * cfg.train_cfg.max_epochs >= MIN_STEPS
    found = []
    while dataset is not None:
        found.append(type(dataset).__name__.removesuffix('Dataset'))
        dataset = getattr(dataset, 'dataset', None)
    assert found == wrappers
    assert any('DefaultSampler' in line for line in changes) == ('cas' in name)


def test_without_masks_the_mask_head_is_left_out():
    cfg, changes = adapted(MASK_RCNN, with_masks=False)
    assert 'no masks: the objects have boxes only, so the mask head is left out' in changes
    assert 'mask_head' not in cfg.model.roi_head
    assert 'with_mask=True' not in cfg.pretty_text
    assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == 'bbox'
    assert not build_on_meta(cfg).with_mask


@pytest.mark.parametrize('name', ['htc/htc_r50', 'scnet/scnet_r50'])
def test_a_semantic_head_for_stuff_is_left_out(name):
    cfg, changes = adapted(get_config(f'mmdet::{name}_fpn_1x_coco.py'))
    assert 'no label maps of stuff: the semantic head is left out' in changes
    assert "'with_seg': True" not in repr(cfg.to_dict())
    cfg.model.backbone.init_cfg = None
    assert not build_on_meta(cfg).roi_head.with_semantic


@pytest.mark.parametrize('small', [False, True])
def test_images_of_every_size_are_kept_and_have_anchors(small):
    cfg, changes = adapted('configs/cascade/convnext_t_coco.py', with_small_images=small)
    (dataset,) = leaf_datasets(cfg.train_dataloader)
    assert dataset.filter_cfg == dict(filter_empty_gt=True)  # no min_size
    assert cfg.model.train_cfg.rpn.allowed_border == (-1 if small else 0)
    assert any('too small for an anchor' in change for change in changes) == small


def test_a_config_for_the_other_kind_of_data_is_refused():
    with pytest.raises(UserError, match='holds label maps and the config is a detection config'):
        adapt_config(load_config(ROOT / MASK_RCNN), data('maps'))
    with pytest.raises(UserError, match='choose a detection config'):
        adapt_config(load_config(ROOT / UPERNET), data('coco'))


def test_epochs_stay_and_a_small_set_is_repeated():
    cfg, changes = adapted(MASK_RCNN, images=100)
    assert cfg.train_cfg.max_epochs == 36
    # 36 epochs of 5 x 100 images, which are 32 batches of 16; 4 x 100 would be too few.
    assert cfg.train_dataloader.dataset.times == 5
    assert cfg.param_scheduler[0].end == 115  # of 500: a tenth of the run
    line = 'schedule: 36 epochs as in the recipe, 5 x 100 images each: 9,000 steps at a batch of 2'
    assert f'{line}; the recipe is for a batch of 16' in changes
    cfg = load_config(ROOT / MASK_RCNN)
    kept = adapt_config(cfg, data('coco', images=100), accumulate=True)
    assert f'{line.partition(": 9,000")[0]}: 1,152 steps at a batch of 16' in kept
    assert 'LinearLR, in iterations: end 115 instead of 500' in changes


def test_a_large_set_keeps_the_schedule_of_the_recipe():
    before = load_config(ROOT / MASK_RCNN)
    cfg, _ = adapted(MASK_RCNN, images=118_287)
    assert cfg.param_scheduler == before.param_scheduler
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'


def test_the_repetition_of_a_recipe_is_kept_or_raised():
    config = 'configs/cascade/convnext_atto_nuclei.py'  # 4 epochs of 8 x 120 images
    assert adapted(config, images=10_000)[0].train_dataloader.dataset.times == 8
    cfg, _ = adapted(config, images=20)
    assert cfg.train_dataloader.dataset.times * 20 * 4 / 4 >= MIN_STEPS


def test_iterations_are_in_proportion_to_the_images():
    cfg, _ = adapted(UPERNET, images=2021)
    assert cfg.train_cfg.max_iters == 16_000 and cfg.train_cfg.val_interval == 1600
    assert cfg.default_hooks.checkpoint.interval == 1600
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 1500)  # less than a tenth
    assert (decay.begin, decay.end) == (1500, 16_000)


def test_iterations_have_a_floor_and_a_ceiling():
    cfg, _ = adapted(UPERNET, images=28)
    assert cfg.train_cfg.max_iters == MIN_STEPS
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 100), (100, 1000)]
    cfg, _ = adapted(UPERNET, images=1_000_000)
    assert cfg.train_cfg.max_iters == 160_000
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 1500), (1500, 160_000)]


def test_a_given_length_is_kept_and_schedules_are_rescaled_to_it():
    cfg = load_config(ROOT / UPERNET, {'train_cfg.max_iters': 40, 'train_cfg.val_interval': 20})
    adapted(cfg, 'train_cfg.max_iters', 'train_cfg.val_interval')
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (40, 20)
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 4), (4, 40)]
    cfg = load_config(ROOT / MASK_RCNN, {'train_cfg.max_epochs': 2})
    adapted(cfg, 'train_cfg.max_epochs', images=16)
    assert 'times' not in cfg.train_dataloader.dataset
    assert cfg.param_scheduler[0].end == 2
    cfg = load_config(ROOT / MASK_RCNN, {'train_cfg.max_epochs': 12})
    adapted(cfg, 'train_cfg.max_epochs', images=16_000)
    assert (cfg.param_scheduler[1].end, cfg.param_scheduler[1].milestones) == (12, [9, 11])


@pytest.mark.parametrize(
    'epochs, milestones', [(72, [54, 66]), (12, [9, 11]), (3, [2]), (2, [1]), (1, [])]
)
def test_milestones_move_with_a_number_of_epochs_that_was_given(epochs, milestones):
    cfg = load_config(ROOT / MASK_RCNN, {'train_cfg.max_epochs': epochs})
    _, changes = adapted(cfg, 'train_cfg.max_epochs', images=100_000)
    assert (cfg.param_scheduler[1].milestones, cfg.param_scheduler[1].end) == (milestones, epochs)
    assert (
        f'MultiStepLR, in epochs: end {epochs} instead of 36, '
        f'milestones {milestones} instead of [27, 33]'
    ) in changes
    assert cfg.param_scheduler[0].end == 500  # iterations, of which there are enough
    assert not list(cut_off_schedule(cfg))


def test_epochs_of_hooks_and_evaluations_move_with_a_number_of_epochs_that_was_given():
    cfg = load_config('mmdet::rtmdet/rtmdet-ins_s_8xb32-300e_coco.py', {'train_cfg.max_epochs': 20})
    (late,) = late_hooks(cfg)
    assert late.what.startswith('switch_epoch=280 of PipelineSwitchHook has no effect')
    assert late.remedy == 'set custom_hooks.1.switch_epoch below 20'
    _, changes = adapted(cfg, 'train_cfg.max_epochs', images=10_000)
    assert cfg.custom_hooks[1].switch_epoch == 19 and not list(late_hooks(cfg))
    assert 'custom_hooks.1.switch_epoch = 19 instead of 280' in changes
    assert cfg.train_cfg.dynamic_intervals == [(19, 1)]
    chosen = ('train_cfg.max_epochs', 'custom_hooks.1.switch_epoch')
    cfg = load_config('mmdet::rtmdet/rtmdet-ins_s_8xb32-300e_coco.py', {chosen[0]: 20})
    cfg.custom_hooks[1].switch_epoch = 10
    adapted(cfg, *chosen, images=10_000)
    assert cfg.custom_hooks[1].switch_epoch == 10


def test_a_cosine_in_epochs_ends_with_a_number_of_epochs_that_was_given():
    cfg = load_config(ROOT / 'configs/cascade/convnext_atto_shapes.py')
    cfg.train_cfg.max_epochs = 20
    cfg.param_scheduler[0].update(by_epoch=True, begin=0, end=1)
    cfg.param_scheduler[1].update(begin=1, T_max=4)
    adapted(cfg, 'train_cfg.max_epochs')
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin, cosine.end, cosine.T_max) == (1, 1, 20, 19)


@pytest.mark.parametrize(
    'epochs, ends', [(300, [20, 300]), (100, [10, 100]), (3, [2, 3]), (2, [2]), (1, [1])]
)
def test_a_warm_up_in_epochs_leaves_room_for_the_schedule(epochs, ends):
    """Of one epoch LinearLR stays where it starts."""
    cfg = load_config(ROOT / MASK_RCNN)
    warm_up = dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=20)
    cosine = dict(type='CosineAnnealingLR', by_epoch=True, begin=20, end=300, T_max=280)
    cfg.merge_from_dict(dict(param_scheduler=[warm_up, cosine]))
    cfg.train_cfg.max_epochs = epochs
    advice = as_text(cut_off_schedule(cfg))
    adapted(cfg, 'train_cfg.max_epochs', images=100_000)
    assert [s.end for s in cfg.param_scheduler] == ends
    last = cfg.param_scheduler[-1]
    assert (last.type, last.T_max) == ('CosineAnnealingLR', last.end - last.begin)
    assert 'end=0' not in advice  # which MMEngine refuses


def test_a_warm_up_in_epochs_that_counts_iterations_may_last_one():
    cfg = load_config(ROOT / MASK_RCNN, {'train_cfg.max_epochs': 2})
    warm_up = dict(type='LinearLR', end=20, convert_to_iter_based=True)
    cosine = dict(type='CosineAnnealingLR', begin=20, end=300)
    cfg.merge_from_dict(dict(param_scheduler=[warm_up, cosine]))
    adapted(cfg, 'train_cfg.max_epochs', images=100_000)
    assert [(s.get('begin', 0), s.end) for s in cfg.param_scheduler] == [(0, 1), (1, 2)]


def test_a_schedule_without_an_end_ends_with_the_recipe(tmp_path):
    (tmp_path / 'endless.py').write_text(
        f"_base_ = '{ROOT / MASK_RCNN}'\n"
        "param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[27, 33])]\n"
    )
    cfg = load_config(tmp_path / 'endless.py', {'train_cfg.max_epochs': 12})
    adapted(cfg, 'train_cfg.max_epochs', images=100_000)
    assert cfg.param_scheduler[0].milestones == [9, 11]
    assert 'end' not in cfg.param_scheduler[0]


@pytest.mark.parametrize('given', ['param_scheduler', 'param_scheduler.1.milestones'])
def test_milestones_that_were_given_too_stay(given):
    cfg = load_config(ROOT / MASK_RCNN, {'train_cfg.max_epochs': 12})
    cfg.param_scheduler[1].milestones = [6, 10]
    adapted(cfg, 'train_cfg.max_epochs', given, images=100_000)
    assert cfg.param_scheduler[1].milestones == [6, 10]


def test_a_recipe_in_iterations_for_unknown_data_keeps_its_length():
    cfg = load_config(ROOT / UPERNET)
    cfg.train_dataloader.dataset.type = 'LoveDADataset'
    changes = adapted(cfg)[1]
    assert cfg.train_cfg.max_iters == 160_000
    assert (
        'schedule: 160,000 iterations as in the recipe; the size of its data set is not known'
        in changes
    )
