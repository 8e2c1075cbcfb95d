# Mask R-CNN, ConvNeXt-T, 3x, fine-tuned from DINOv3 weights (self-supervised, gated).
# The recipe of convnext_t_coco.py. No AP was published, and none was measured here.
#   tools/train.py configs/mask_rcnn/dinov3_convnext_t_coco.py
_base_ = '../_base_/mask_rcnn.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.4,
        # The final norm of DINOv3 was trained on patch tokens too, so it is loaded into norm3.
        init_cfg=dict(type='ConvNeXtPretrained', checkpoint='dinov3_convnext_tiny'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95), optimizer=dict(lr=1e-4))
