# UperNet, ConvNeXt-XL, 160k, from ImageNet-22k weights. Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_xl_in22k_ade20k.py
_base_ = '../_base_/upernet_ade20k_640.py'

# mIoU_multi_scale: tools/test.py CONFIG CHECKPOINT --tta
published = dict(mIoU=53.6, mIoU_multi_scale=54.0, weights='upernet_convnext_xlarge_in22k_ade20k')

model = dict(
    backbone=dict(
        arch='xlarge',
        drop_path_rate=0.4,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_xlarge_in22k'),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)
# The authors trained ConvNeXt-L and XL in fp32.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=8e-5))
