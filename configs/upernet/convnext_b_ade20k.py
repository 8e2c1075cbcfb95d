# UperNet, ConvNeXt-B, 160k, from ImageNet-1k weights. Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_b_ade20k.py
_base_ = '../_base_/upernet_ade20k_512.py'

# mIoU_multi_scale: tools/test.py CONFIG CHECKPOINT --tta
published = dict(mIoU=49.1, mIoU_multi_scale=49.9, weights='upernet_convnext_base_ade20k')

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.4,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_base_in1k'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
