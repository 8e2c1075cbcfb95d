# Cascade Mask R-CNN, ConvNeXt-B, 3x, from ImageNet-1k weights. Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_b_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

published = dict(box_AP=52.7, mask_AP=45.6, weights='cascade_mask_rcnn_convnext_base_coco')

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.7,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_base_in1k'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8), optimizer=dict(lr=2e-4))
