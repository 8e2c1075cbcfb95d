# Mask R-CNN, ConvNeXt-T, 3x, ImageNet-1k: box AP 46.2, mask AP 41.7 on COCO val2017.
# 48M parameters, 262 GFLOPs at 1280x800. Source: Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/mask_rcnn/convnext_t_coco.py
_base_ = '../_base_/mask_rcnn.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95), optimizer=dict(lr=1e-4))
