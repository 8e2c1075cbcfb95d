# Cascade Mask R-CNN, ConvNeXt-XL, 3x, ImageNet-22k: box AP 55.2, mask AP 47.7 on COCO val2017.
# 407M parameters, 1898 GFLOPs at 1280x800. Source: Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_xl_in22k_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

model = dict(
    backbone=dict(
        arch='xlarge',
        drop_path_rate=0.8,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_xlarge_22k_224.pth',
        ),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
# The authors trained L and XL in fp32.
optim_wrapper = dict(
    type='OptimWrapper', paramwise_cfg=dict(decay_rate=0.7), optimizer=dict(lr=1e-4)
)
