# UperNet, ConvNeXt-L, 160k, ImageNet-22k: mIoU 53.2 on ADE20K, 53.7 multi-scale (--tta).
# 235M parameters, 2458 GFLOPs at 2560x640. Source: Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_l_in22k_ade20k.py
_base_ = '../_base_/upernet_ade20k_640.py'

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='ConvNeXtPretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_224.pth',
        ),
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
# The authors trained L and XL in fp32.
optim_wrapper = dict(type='OptimWrapper')
