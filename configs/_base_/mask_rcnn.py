# The authors' Mask R-CNN: a ConvNeXt with the heads of MMDetection.
# Source: facebookresearch/ConvNeXt, object_detection/configs/convnext/mask_rcnn_*.py.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './coco_instance_3x.py']

model = dict(
    # A recipe adds arch, drop path and weights. The layer scale is loaded with the weights.
    backbone=dict(_delete_=True, type='convnext_mm.ConvNeXt', layer_scale_init_value=1.0),
)
