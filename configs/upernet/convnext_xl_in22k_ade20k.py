# UperNet, ConvNeXt-XL, 160k, ImageNet-22k: mIoU 53.6 on ADE20K, 54.0 multi-scale (--tta).
# 391M parameters, 3335 GFLOPs at 2560x640. Source: Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_xl_in22k_ade20k.py
_base_ = '../_base_/upernet_ade20k_640.py'

model = dict(
    backbone=dict(
        arch='xlarge',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_xlarge_22k_224.pth',
        ),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)
# The authors trained L and XL in fp32.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=8e-5))
