# UperNet, ConvNeXt-B, 160k, ImageNet-22k: mIoU 52.6 on ADE20K, 53.1 multi-scale (--tta).
# 122M parameters, 1828 GFLOPs at 2560x640. Source: Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_b_in22k_ade20k.py
_base_ = '../_base_/upernet_ade20k_640.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth',
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
