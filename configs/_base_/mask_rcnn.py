# The authors' Mask R-CNN: MMDetection's heads on a ConvNeXt.
# Source: facebookresearch/ConvNeXt, object_detection/configs/convnext/mask_rcnn_*.py.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './coco_instance_3x.py']

model = dict(
    # A leaf states arch, drop path and weights. The layer scale is the weights'.
    backbone=dict(_delete_=True, type='convnext_mm.ConvNeXt', layer_scale_init_value=1.0),
)
