# The authors' training of classifiers on ImageNet-1k: 300 epochs at batch 4096.
# Sources: facebookresearch/ConvNeXt, TRAINING.md, main.py and datasets.py; table 5 of the paper.
_base_ = 'mmpretrain::_base_/default_runtime.py'

num_classes = 1000
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # RGB

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', num_classes=num_classes, mean=mean, std=std, to_rgb=True
    ),
    # A recipe adds arch and drop path, and the channels of neck and head.
    backbone=dict(type='convnext_mm.ConvNeXt', output_norms=False),
    neck=dict(type='convnext_mm.PooledNorm'),
    head=dict(
        type='LinearClsHead',
        num_classes=num_classes,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    ),
    # One of the two for each batch, with equal probability.
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

bicubic = dict(backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, **bicubic),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # rand-m9-mstd0.5-inc1 of timm
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[round(x) for x in mean[::-1]], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean[::-1],  # BGR, as the images are here
        fill_std=std[::-1],
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', **bicubic),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
# data/imagenet/train/n01440764/*.JPEG, data/imagenet/val/n01440764/*.JPEG, ...
dataset = dict(type='ImageNet', data_root='data/imagenet')
train_dataloader = dict(
    batch_size=128,  # on each of 32 GPUs
    num_workers=10,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

max_epochs, warm_up = 300, 20
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# No weight decay for norms, biases and layer scale. All layers have the same learning rate.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='convnext_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(decay_rate=1.0, decay_type='layer_wise'),
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=warm_up, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin=warm_up,
        end=max_epochs,
        T_max=max_epochs - warm_up,
        eta_min=1e-6,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=4096)

# The moving average is evaluated, and saved as the model.
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=3))
randomness = dict(seed=0)
