# UperNet, ConvNeXt-B, 160k, from ImageNet-22k weights. Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_b_in22k_ade20k.py
_base_ = '../_base_/upernet_ade20k_640.py'

# mIoU_multi_scale: tools/test.py CONFIG CHECKPOINT --tta
published = dict(mIoU=52.6, mIoU_multi_scale=53.1, weights='upernet_convnext_base_in22k_ade20k')

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.4,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_base_in22k'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
