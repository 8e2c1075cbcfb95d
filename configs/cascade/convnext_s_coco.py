# Cascade Mask R-CNN, ConvNeXt-S, 3x, from ImageNet-1k weights. Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_s_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

published = dict(box_AP=51.9, mask_AP=45.0, weights='cascade_mask_rcnn_convnext_small_coco')

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.6,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_small_in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.7), optimizer=dict(lr=2e-4))
