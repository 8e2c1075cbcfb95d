# ConvNeXt-S on ImageNet-1k, 300 epochs. Liu et al., CVPR 2022, tables 1 and 5.
#   tools/train.py configs/imagenet/convnext_s.py
_base_ = '../_base_/imagenet_300e.py'

published = dict(top1=83.1, weights='convnext_small_in1k_ema')

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.4),
    neck=dict(in_channels=768),
    head=dict(in_channels=768),
)
