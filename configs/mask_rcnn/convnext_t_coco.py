# Mask R-CNN, ConvNeXt-T, 3x, from ImageNet-1k weights. Liu et al., CVPR 2022, table 3.
#   tools/train.py configs/mask_rcnn/convnext_t_coco.py
_base_ = '../_base_/mask_rcnn.py'

published = dict(box_AP=46.2, mask_AP=41.7, weights='mask_rcnn_convnext_tiny_coco')

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.4,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_tiny_in1k'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95), optimizer=dict(lr=1e-4))
