# Cascade Mask R-CNN, ConvNeXt-S, 3x, ImageNet-1k: box AP 51.9, mask AP 45.0 on COCO val2017.
# 108M parameters, 827 GFLOPs at 1280x800. Source: Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/cascade/convnext_s_coco.py
_base_ = '../_base_/cascade_mask_rcnn.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.6,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_small_1k_224.pth',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.7), optimizer=dict(lr=2e-4))
