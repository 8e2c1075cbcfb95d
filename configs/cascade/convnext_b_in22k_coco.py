# Cascade Mask R-CNN, ConvNeXt-B, 3x, from ImageNet-22k weights. Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_b_in22k_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

published = dict(box_AP=54.0, mask_AP=46.9, weights='cascade_mask_rcnn_convnext_base_in22k_coco')

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.6,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_base_in22k'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8), optimizer=dict(lr=1e-4))
