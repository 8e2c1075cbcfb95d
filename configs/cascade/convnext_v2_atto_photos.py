# Cascade Mask R-CNN, ConvNeXt V2-atto, for photographs, from scratch on a CPU.
# With your own data:
#   tools/train.py configs/cascade/convnext_v2_atto_photos.py --data PATH
# Without, it trains on people cut from photos of COCO, which benchmarks/small_data.py writes:
#   benchmarks/small_data.py data/coco data/people
#   tools/train.py configs/cascade/convnext_v2_atto_photos.py
# It takes 2,000 steps of 4 images, for any number of images: half an hour of one core (Zen 4).
# docs/choosing.md has its AP.
_base_ = './convnext_atto_shapes.py'

data_root = 'data/people/'
metainfo = dict(_delete_=True, classes=('person',), palette=[(220, 20, 60)])

# Images get 256 to 416 px along their longer side. Training uses crops of 256 px to save time.
# Boxes are computed from the cropped masks, so that they stay as tight as the masks.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=[(256, 256), (416, 416)], keep_ratio=True),
    dict(
        type='RandomCrop',
        crop_type='absolute',
        crop_size=(256, 256),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs'),
]
fast_pipeline = dict(_base_.fast_pipeline, transforms=train_pipeline)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    *_base_.test_pipeline[2:],
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(side, side), keep_ratio=True) for side in (288, 384)],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler'),
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=[fast_pipeline]),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

# Anchors of 32 to 512 px.
strides = [4, 8, 16, 32, 64]
model = dict(
    backbone=dict(arch='v2_atto', layer_scale_init_value=0.0, drop_path_rate=0.1),
    neck=dict(num_outs=len(strides)),
    rpn_head=dict(anchor_generator=dict(scales=[8], strides=strides)),
    roi_head=dict(
        bbox_head=[dict(head, num_classes=1) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=1),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=1000, max_per_img=200),
        rcnn=[
            dict(stage, sampler=dict(stage.sampler, num=64))
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=200), rcnn=dict(max_per_img=100)),
)

max_iters = 2000
interval = 500
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=interval
)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=100,
        end=max_iters,
        T_max=max_iters - 100,
        eta_min_ratio=0.01,
    ),
]
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=interval))
