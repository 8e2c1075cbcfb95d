# ConvNeXt-T on ImageNet-1k, 300 epochs. Liu et al., CVPR 2022, tables 1 and 5.
#   tools/train.py configs/imagenet/convnext_t.py
_base_ = '../_base_/imagenet_300e.py'

published = dict(top1=82.1, weights='convnext_tiny_in1k_ema')

model = dict(
    backbone=dict(arch='tiny', drop_path_rate=0.1),
    neck=dict(in_channels=768),
    head=dict(in_channels=768),
)
