# One recipe for every step of the roadmap: ATSS on the built-in shapes, from scratch on a CPU.
#   tools/roadmap.py
# 16 networks with 3 seeds take about 1.3 hours on two cores.
# The detector is small, because the backbones are compared: images of 128 px, a quarter of the
# channels of ConvNeXt-T and ResNet-50, 48 channels behind them. Only GroupNorm stands behind the
# backbone, so that BatchNorm and LayerNorm are compared in the backbone alone.
_base_ = 'mmdet::atss/atss_r50_fpn_1x_coco.py'

classes = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
norm_cfg = dict(type='GN', num_groups=8)
width = 48
strides = [8, 16, 32]

model = dict(
    backbone=dict(
        _delete_=True,
        type='convnext_mm.Roadmap',
        step='separate_downsampling',
        width=24,
        out_indices=(1, 2, 3),
        # A layer scale of 1e-6 needs a longer training to grow.
        layer_scale_init_value=0.0,
        # The same for convolutions and for the linear layers, which are 1x1 convolutions.
        init_cfg=dict(
            type='Kaiming', layer=['Conv2d', 'Linear'], mode='fan_in', nonlinearity='linear'
        ),
    ),
    neck=dict(
        in_channels=[48, 96, 192],
        out_channels=width,
        start_level=0,
        add_extra_convs=False,
        num_outs=len(strides),
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        num_classes=len(classes),
        in_channels=width,
        feat_channels=width,
        stacked_convs=1,
        norm_cfg=norm_cfg,
        # Anchors of 32 to 128 px. The objects are 19 to 70 px large.
        anchor_generator=dict(octave_base_scale=4, strides=strides),
    ),
    test_cfg=dict(nms_pre=300, max_per_img=30),
)

data_root = 'data/shapes_roadmap/'
metainfo = dict(
    classes=classes,
    palette=[
        *((230, 80, 70), (70, 130, 230), (80, 190, 90)),
        *((240, 190, 50), (170, 90, 210), (60, 190, 200)),
    ],
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(min_size=8),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='convnext_mm.evaluation.coco.FastCocoMetric',
    ann_file=data_root + 'annotations/instances_val.json',
)
test_evaluator = val_evaluator

max_iters = 1000
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        T_max=max_iters,
        eta_min_ratio=0.01,
    ),
]
auto_scale_lr = dict(base_batch_size=8)
randomness = dict(seed=0)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=max_iters, max_keep_ckpts=1), logger=dict(interval=10)
)
log_processor = dict(by_epoch=False)
