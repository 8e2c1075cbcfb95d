# Cascade Mask R-CNN, ConvNeXt-B, 3x, ImageNet-1k: box AP 52.7, mask AP 45.6 on COCO val2017.
# 146M parameters, 964 GFLOPs at 1280x800. Source: Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_b_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.7,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_224.pth',
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8), optimizer=dict(lr=2e-4))
