# Mask R-CNN, ConvNeXt-T, 3x, with frozen DINOv3 weights. FPN, heads and output norms train.
# No AP was published, and none was measured here.
#   tools/train.py configs/mask_rcnn/dinov3_convnext_t_frozen_coco.py
_base_ = './dinov3_convnext_t_coco.py'

model = dict(backbone=dict(frozen_stages=4, drop_path_rate=0.0))
