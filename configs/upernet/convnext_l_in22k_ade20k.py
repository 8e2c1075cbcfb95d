# UperNet, ConvNeXt-L, 160k, from ImageNet-22k weights. Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_l_in22k_ade20k.py
_base_ = '../_base_/upernet_ade20k_640.py'

# mIoU_multi_scale: tools/test.py CONFIG CHECKPOINT --tta
published = dict(mIoU=53.2, mIoU_multi_scale=53.7, weights='upernet_convnext_large_in22k_ade20k')

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.4,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_large_in22k'),
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
# The authors trained ConvNeXt-L and XL in fp32.
optim_wrapper = dict(type='OptimWrapper')
