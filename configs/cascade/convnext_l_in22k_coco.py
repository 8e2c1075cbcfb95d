# Cascade Mask R-CNN, ConvNeXt-L, 3x, ImageNet-22k: box AP 54.8, mask AP 47.6 on COCO val2017.
# 255M parameters, 1354 GFLOPs at 1280x800. Source: Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_l_in22k_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.7,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_224.pth',
        ),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
# The authors trained L and XL in fp32.
optim_wrapper = dict(
    type='OptimWrapper', paramwise_cfg=dict(decay_rate=0.7), optimizer=dict(lr=1e-4)
)
