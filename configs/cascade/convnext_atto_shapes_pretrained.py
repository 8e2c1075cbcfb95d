# The demo, with the backbone of configs/imagenet/convnext_atto_shapes.py instead of a random one.
#   tools/train.py configs/cascade/convnext_atto_shapes_pretrained.py
_base_ = './convnext_atto_shapes.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='ConvNeXtPretrained',
            checkpoint='work_dirs/imagenet_atto_shapes/epoch_5.pth',
        )
    )
)
