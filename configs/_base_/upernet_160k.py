# The authors' UperNet for ADE20K but for the crop: model, schedule and optimizer of all six.
#
# 160k iterations at batch 16 (8 GPUs x 2 crops), 127 epochs of 20,210 images: linear warm-up over
# 1500 iterations, then linearly to 0. (MMCV 1.x's line to 0 started at iteration 0, under the
# warm-up: the authors' peak was 0.9% lower. MMSegmentation's port does as here.)
# Source: facebookresearch/ConvNeXt, semantic_segmentation/configs/convnext/.
_base_ = ['mmseg::_base_/models/upernet_r50.py', 'mmseg::_base_/default_runtime.py']

model = dict(
    pretrained=None,
    # A leaf states arch, drop path and weights. The layer scale is the weights'.
    backbone=dict(_delete_=True, type='convnext_mm.ConvNeXt', layer_scale_init_value=1.0),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)

max_iters = 160_000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=16_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=max_iters),
]
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise'),
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=16_000),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
# A table of the last mIoU, curves and pictures at the end.
custom_hooks = [dict(type='convnext_mm.engine.hooks.summary.SummaryHook')]

# --tta: the whole image at several scales, as it is and flipped.
tta_model = dict(type='convnext_mm.evaluation.tta.semantic.WholeImageTTAModel')
