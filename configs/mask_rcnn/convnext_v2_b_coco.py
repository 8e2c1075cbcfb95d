# Mask R-CNN, ConvNeXt V2-B, 3x with large-scale jitter, from FCMAE weights. Soft-NMS.
#   tools/train.py configs/mask_rcnn/convnext_v2_b_coco.py
_base_ = '../_base_/mask_rcnn_v2.py'

published = dict(
    box_AP=52.9,
    mask_AP=46.4,
    source='https://github.com/open-mmlab/mmdetection/tree/main/projects/ConvNeXt-V2',
)

model = dict(
    backbone=dict(
        arch='v2_base',
        drop_path_rate=0.4,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnextv2_base_fcmae'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
