# Cascade Mask R-CNN, ConvNeXt-L, 3x, from ImageNet-22k weights. Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_l_in22k_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

published = dict(box_AP=54.8, mask_AP=47.6, weights='cascade_mask_rcnn_convnext_large_in22k_coco')

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.7,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_large_in22k'),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
# The authors trained ConvNeXt-L and XL in fp32.
optim_wrapper = dict(
    type='OptimWrapper', paramwise_cfg=dict(decay_rate=0.7), optimizer=dict(lr=1e-4)
)
