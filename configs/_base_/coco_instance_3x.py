# The authors' COCO recipe: data, schedule and optimizer of all seven COCO models.
#
# 36 epochs of 118k images at batch 16 (8 GPUs x 2 images); lr x0.1 at epochs 27 and 33; linear
# warm-up over 500 iterations. MMDetection's port of ConvNeXt warms up over 1000.
# Source: facebookresearch/ConvNeXt, object_detection/configs/convnext/.
_base_ = [
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

# As in DETR and Sparse R-CNN: resize, or resize, crop and resize.
short_sides = [(side, 1333) for side in range(480, 801, 32)]
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=short_sides, keep_ratio=True)],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(side, 1333) for side in (400, 500, 600)],
                    keep_ratio=True,
                ),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                dict(type='RandomChoiceResize', scales=short_sides, keep_ratio=True),
            ],
        ],
    ),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[27, 33], gamma=0.1
    ),
]

# A leaf states the learning rate and the decay rate.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(decay_type='layer_wise'),
    optimizer=dict(_delete_=True, type='AdamW', betas=(0.9, 0.999), weight_decay=0.05),
)

# pycocotools' numbers without the wait.
val_evaluator = dict(type='convnext_mm.evaluation.coco.FastCocoMetric')
test_evaluator = val_evaluator

# A table of the last AP, curves and pictures at the end.
custom_hooks = [dict(type='convnext_mm.engine.hooks.summary.SummaryHook')]

# --tta: each image at three scales, as it is and flipped.
tta_model = dict(
    type='convnext_mm.evaluation.tta.instance.InstanceTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
tta_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=scale, keep_ratio=True)
                for scale in ((1333, 800), (1333, 640), (1600, 960))
            ],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)],
            [
                dict(
                    type='PackDetInputs',
                    meta_keys=(
                        *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
                        *('flip', 'flip_direction'),
                    ),
                )
            ],
        ],
    ),
]
