# Fine-tuning of a published COCO detector on data of your own, on one GPU: the settings that its
# recipes share. They take them from here, because a config may set no key of another base.
#
# 12 epochs with a batch of 4 images, and no fewer than 1,000 steps with --data. The learning rate
# is half of the authors', whose batch is 16, and falls with a cosine. No AP was measured here.
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    # At least 0.6 of each side. Boxes are computed from the cropped masks.
    dict(
        type='RandomCrop',
        crop_type='relative_range',
        crop_size=(0.6, 0.6),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(
        type='RandomChoiceResize',
        scales=[(side, 1333) for side in range(480, 801, 32)],
        keep_ratio=True,
    ),
    dict(type='PackDetInputs'),
]
batch_size = 4
epochs = 12
finetuning = dict(
    train_dataloader=dict(
        batch_size=batch_size,
        dataset=dict(
            pipeline=[dict(type='convnext_mm.datasets.loader.FastPipeline', transforms=pipeline)]
        ),
    ),
    auto_scale_lr=dict(base_batch_size=batch_size),
    train_cfg=dict(max_epochs=epochs),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
        dict(
            type='CosineAnnealingLR',
            by_epoch=True,
            begin=0,
            end=epochs,
            T_max=epochs,
            eta_min_ratio=0.01,
            convert_to_iter_based=True,
        ),
    ],
    default_hooks=dict(
        checkpoint=dict(max_keep_ckpts=1, save_best='coco/bbox_mAP', rule='greater')
    ),
)
