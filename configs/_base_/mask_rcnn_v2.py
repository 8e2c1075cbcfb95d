# Mask R-CNN with ConvNeXt V2, as in MMDetection's project. The authors published no recipe.
#
# 36 epochs with a batch size of 32 (8 GPUs x 4 images), large-scale jitter to 1024x1024, linear
# warm-up over 1000 iterations. The test uses soft-NMS. The V1 recipes do not.
# Source: open-mmlab/mmdetection, projects/ConvNeXt-V2.
_base_ = './mask_rcnn.py'

model = dict(
    backbone=dict(layer_scale_init_value=0.0),  # none: V2 has GRN instead
    test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))),
)

image_size = (1024, 1024)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomResize', scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type='RandomCrop',
        crop_type='absolute_range',
        crop_size=image_size,
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
fast_pipeline = dict(_base_.fast_pipeline, transforms=train_pipeline)
train_dataloader = dict(batch_size=4, num_workers=8, dataset=dict(pipeline=[fast_pipeline]))
auto_scale_lr = dict(base_batch_size=32)

param_scheduler = [dict(_base_.param_scheduler[0], end=1000), _base_.param_scheduler[1]]
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95), optimizer=dict(lr=1e-4))
