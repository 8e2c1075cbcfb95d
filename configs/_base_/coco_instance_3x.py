# The authors' COCO recipe: data, schedule and optimizer of all seven COCO models.
#
# 36 epochs of 118k images with a batch size of 16 (8 GPUs x 2 images). The learning rate falls to a
# tenth at epochs 27 and 33. Linear warm-up over 500 iterations; MMDetection's port of ConvNeXt has
# 1000.
# Source: facebookresearch/ConvNeXt, object_detection/configs/convnext/.
_base_ = [
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

# As in DETR and Sparse R-CNN: resize, or resize, crop and resize again.
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
# The same samples in a quarter of the time, apart from one resize instead of two (docs/loader.md).
# The authors' loader itself: pipeline=train_pipeline, or
#   --cfg-options train_dataloader.dataset.pipeline.0.fast=False
fast_pipeline = dict(type='convnext_mm.datasets.loader.FastPipeline', transforms=train_pipeline)
train_dataloader = dict(dataset=dict(pipeline=[fast_pipeline]))

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[27, 33], gamma=0.1
    ),
]

# A recipe adds the learning rate and the decay rate.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(decay_type='layer_wise'),
    optimizer=dict(_delete_=True, type='AdamW', betas=(0.9, 0.999), weight_decay=0.05),
)

# The AP of pycocotools, computed much faster.
val_evaluator = dict(type='convnext_mm.evaluation.coco.FastCocoMetric')
test_evaluator = val_evaluator

# For --tta: each image at three scales, with and without a flip.
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
