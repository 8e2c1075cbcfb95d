# The backbone of the demo, pretrained on the objects of the built-in shapes, on a CPU.
#   python -m convnext_mm.datasets.shapes data/shapes_classes --layout classes --train 3000 --seed 1
#   tools/train.py configs/imagenet/convnext_atto_shapes.py
#   tools/train.py configs/cascade/convnext_atto_shapes_pretrained.py
# Another seed than the demo's, so the detector sees its images for the first time.
_base_ = '../_base_/imagenet_300e.py'

classes = ('circle', 'cross', 'ring', 'square', 'star', 'triangle')
work_dir = 'work_dirs/imagenet_atto_shapes'

model = dict(
    data_preprocessor=dict(num_classes=len(classes)),
    # Arch, layer scale and initial weights of configs/cascade/convnext_atto_shapes.py.
    backbone=dict(
        arch=dict(depths=(2, 2, 6, 2), channels=(40, 80, 160, 320)),
        layer_scale_init_value=1.0,
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='linear'),
            dict(type='Xavier', layer='Linear'),
        ],
    ),
    neck=dict(in_channels=320),
    head=dict(in_channels=320, num_classes=len(classes)),
    # Too strong for a short training.
    train_cfg=None,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.4, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs'),
]
dataset = dict(
    _delete_=True,
    type='CustomDataset',
    data_root='data/shapes_classes',
    metainfo=dict(classes=classes),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**dataset, data_prefix='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**dataset, data_prefix='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

max_epochs = 5
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(
        type='CosineAnnealingLR',
        end=max_epochs,
        T_max=max_epochs,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=32)
custom_hooks = []  # no moving average, which needs a longer training
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1), logger=dict(interval=10))
