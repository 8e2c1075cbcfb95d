# The authors' UperNet for ADE20K without the crop: model, schedule and optimizer of all six models.
#
# 160k iterations with a batch size of 16 (8 GPUs x 2 crops), which is 127 epochs of 20,210 images.
# Linear warm-up over 1500 iterations, then linear decay to 0. In MMCV 1.x, which the authors used,
# the decay began at iteration 0, below the warm-up. So their peak was 0.9% lower. MMSegmentation's
# port of ConvNeXt does as here.
# Source: facebookresearch/ConvNeXt, semantic_segmentation/configs/convnext/.
_base_ = ['mmseg::_base_/models/upernet_r50.py', 'mmseg::_base_/default_runtime.py']

model = dict(
    pretrained=None,
    # A recipe adds arch, drop path and weights. The layer scale is loaded with the weights.
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

# For --tta: the whole image at several scales, with and without a flip.
tta_model = dict(type='convnext_mm.evaluation.tta.semantic.WholeImageTTAModel')
