# Mask R-CNN, ConvNeXt-T, fine-tuned from the authors' COCO detector on data of your own.
#   tools/train.py configs/mask_rcnn/convnext_t_finetune.py --data PATH
_base_ = ['../_base_/mask_rcnn.py', '../_base_/finetune.py']

# Layers for other classes than COCO's start new. The log lists them.
load_from = 'mask_rcnn_convnext_tiny_coco'

model = dict(
    backbone=dict(arch='tiny', drop_path_rate=0.2),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.95), optimizer=dict(lr=5e-5))

train_dataloader = _base_.finetuning.train_dataloader
auto_scale_lr = _base_.finetuning.auto_scale_lr
train_cfg = _base_.finetuning.train_cfg
param_scheduler = _base_.finetuning.param_scheduler
default_hooks = _base_.finetuning.default_hooks
