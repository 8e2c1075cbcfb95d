# Mask R-CNN, ConvNeXt V2-T, 3x with large-scale jitter, from FCMAE weights. Soft-NMS.
# The recipe of V2-B on a smaller backbone. No AP was published, and none was measured here.
#   tools/train.py configs/mask_rcnn/convnext_v2_t_coco.py
_base_ = '../_base_/mask_rcnn_v2.py'

model = dict(
    backbone=dict(
        arch='v2_tiny',
        drop_path_rate=0.4,
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='convnextv2_tiny_fcmae'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
