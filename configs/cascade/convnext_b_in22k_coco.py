# Cascade Mask R-CNN, ConvNeXt-B, 3x, ImageNet-22k: box AP 54.0, mask AP 46.9 on COCO val2017.
# 146M parameters, 964 GFLOPs at 1280x800. Source: Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_b_in22k_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.6,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth',
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8), optimizer=dict(lr=1e-4))
