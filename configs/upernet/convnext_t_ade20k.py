# UperNet, ConvNeXt-T, 160k, ImageNet-1k: mIoU 46.0 on ADE20K, 46.7 multi-scale (--tta).
# 60M parameters, 939 GFLOPs at 2048x512. Source: Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_t_ade20k.py
_base_ = '../_base_/upernet_ade20k_512.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth',
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
