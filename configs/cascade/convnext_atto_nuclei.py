# The model of the demo on micrographs, from scratch on a CPU: one class, 120 training images.
# Data: nuclei of the 2018 Data Science Bowl (BBBC038, CC0) in COCO format under data/nuclei.
#   tools/train.py configs/cascade/convnext_atto_nuclei.py
# This is an example for your own data: it states only what differs from the config for the shapes.
_base_ = './convnext_atto_shapes.py'

data_root = 'data/nuclei/'
metainfo = dict(classes=('nucleus',))

# Half of the nuclei are smaller than 13 px, so images are enlarged: by 2 for tests and by 1.5 to
# 2.5 for training. Training uses crops of 256 px to save time.
test_scale = (512, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=[(384, 384), (640, 640)], keep_ratio=True),
    # Boxes are computed from the cropped masks, so that they stay as tight as the masks.
    dict(type='RandomCrop', crop_type='absolute', crop_size=(256, 256), recompute_bbox=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    *_base_.train_pipeline[2:],
]
fast_pipeline = dict(_base_.fast_pipeline, transforms=train_pipeline)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=test_scale, keep_ratio=True),
    *_base_.test_pipeline[2:],
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(side, side), keep_ratio=True) for side in (448, 576)],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        # With 120 images, an epoch would be too short.
        _delete_=True,
        type='RepeatDataset',
        times=8,
        dataset=dict(
            _base_.train_dataloader.dataset,
            data_root=data_root,
            metainfo=metainfo,
            pipeline=[fast_pipeline],
        ),
    ),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=1) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=1),
    ),
    # There are up to 99 nuclei in an image.
    train_cfg=dict(
        rpn=dict(sampler=dict(num=256)),
        rpn_proposal=dict(nms_pre=1000, max_per_img=300),
        rcnn=[
            dict(stage, sampler=dict(stage.sampler, num=64))
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=400), rcnn=dict(max_per_img=150)),
)

max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs),
]
