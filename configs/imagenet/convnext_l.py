# ConvNeXt-L on ImageNet-1k, 300 epochs. Liu et al., CVPR 2022, tables 1 and 5.
#   tools/train.py configs/imagenet/convnext_l.py
_base_ = '../_base_/imagenet_300e.py'

published = dict(top1=84.3, weights='convnext_large_in1k_ema')

model = dict(
    backbone=dict(arch='large', drop_path_rate=0.5),
    neck=dict(in_channels=1536),
    head=dict(in_channels=1536),
)
