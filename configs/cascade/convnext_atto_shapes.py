# Cascade Mask R-CNN, ConvNeXt as large as V2-atto, on the built-in shapes, from scratch on a CPU.
#   make demo
# The model of the base is made small: images of 128 px, 48 channels behind the backbone, two stages
# of the cascade, few RoIs. Three settings let it train from scratch in minutes: BN in FPN and
# heads, initial weights scaled by fan-in, and class-agnostic boxes and masks.
_base_ = '../_base_/cascade_mask_rcnn.py'

classes = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
norm_cfg = dict(type='BN')
width = 48
strides = [4, 8, 16, 32]
rois = 24

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        arch=dict(depths=(2, 2, 6, 2), channels=(40, 80, 160, 320)),
        drop_path_rate=0.0,
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='linear'),
            dict(type='Xavier', layer='Linear'),
        ],
    ),
    neck=dict(in_channels=[40, 80, 160, 320], out_channels=width, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        # Anchors of 16 to 128 px. The objects are 19 to 70 px large.
        anchor_generator=dict(scales=[4], strides=strides),
    ),
    roi_head=dict(
        num_stages=2,
        stage_loss_weights=[1, 0.5],
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=width, featmap_strides=strides
        ),
        bbox_head=[
            dict(
                head,
                num_classes=len(classes),
                num_shared_convs=1,
                in_channels=width,
                conv_out_channels=width,
                fc_out_channels=256,
                reg_class_agnostic=True,
                norm_cfg=norm_cfg,
            )
            for head in _base_.model.roi_head.bbox_head[:2]
        ],
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=width, featmap_strides=strides
        ),
        mask_head=dict(
            num_convs=2,
            class_agnostic=True,
            in_channels=width,
            conv_out_channels=32,
            num_classes=len(classes),
            norm_cfg=norm_cfg,
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=100),
        rcnn=[
            dict(stage, sampler=dict(stage.sampler, num=rois, pos_fraction=0.5))
            for stage in _base_.model.train_cfg.rcnn[:2]
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(max_per_img=30)),
)

data_root = 'data/shapes/'
metainfo = dict(
    classes=classes,
    palette=[
        *((230, 80, 70), (70, 130, 230), (80, 190, 90)),
        *((240, 190, 50), (170, 90, 210), (60, 190, 200)),
    ],
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='PackDetInputs'),
]
fast_pipeline = dict(_base_.fast_pipeline, transforms=train_pipeline)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(side, side), keep_ratio=True) for side in (128, 160)],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(min_size=8),
        pipeline=[fast_pipeline],
    ),
)
auto_scale_lr = dict(base_batch_size=4)
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
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

max_epochs = 5
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
optim_wrapper = dict(
    type='OptimWrapper', paramwise_cfg=dict(decay_rate=1.0), optimizer=dict(lr=1.5e-3, fused=True)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
randomness = dict(seed=0)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1), logger=dict(interval=10))
