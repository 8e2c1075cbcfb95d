# UperNet, ConvNeXt-S, 160k, from ImageNet-1k weights. Liu et al., CVPR 2022, table 4.
#   tools/train.py configs/upernet/convnext_s_ade20k.py
_base_ = '../_base_/upernet_ade20k_512.py'

# mIoU_multi_scale: tools/test.py CONFIG CHECKPOINT --tta
published = dict(mIoU=48.7, mIoU_multi_scale=49.6, weights='upernet_convnext_small_ade20k')

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnext_small_in1k'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
