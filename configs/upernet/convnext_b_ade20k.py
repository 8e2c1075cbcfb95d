# UperNet, ConvNeXt-B, 160k, ImageNet-1k: mIoU 49.1 on ADE20K, 49.9 multi-scale (--tta).
# 122M parameters, 1170 GFLOPs at 2048x512. Source: Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_b_ade20k.py
_base_ = '../_base_/upernet_ade20k_512.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_base_1k_224.pth',
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
