"""Configs of small models on the shapes, and checkpoints of them with random weights."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

SEGMENTOR = """
_base_ = ['mmseg::_base_/models/upernet_r50.py', 'mmseg::_base_/default_runtime.py']
channels = [8, 16, 24, 32]
norm_cfg = dict(type='BN')
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='convnext_mm.ConvNeXt',
        arch=dict(depths=(1, 1, 2, 1), channels=channels),
        layer_scale_init_value=1.0,
    ),
    decode_head=dict(in_channels=channels, channels=16, num_classes=7, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=24, channels=8, num_classes=7, norm_cfg=norm_cfg),
    test_cfg=dict(mode='whole'),
)
classes = ('background', 'circle', 'square', 'triangle', 'star', 'cross', 'ring')
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def loader(split, pipeline):
    return dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='BaseSegDataset',
            data_root='DATA_ROOT',
            data_prefix=dict(img_path='images/' + split, seg_map_path='annotations/' + split),
            metainfo=dict(classes=classes, palette=[[30 * i, 0, 255 - 30 * i] for i in range(7)]),
            pipeline=pipeline,
        ),
    )


train_dataloader = loader(
    'training',
    [
        *load,
        dict(type='RandomCrop', crop_size=(48, 64)),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegInputs'),
    ],
)
test_pipeline = [*load, dict(type='PackSegInputs')]
val_dataloader = loader('validation', test_pipeline)
test_dataloader = val_dataloader
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4, val_interval=4)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
"""


def segmentor(shapes_ade: Path) -> str:
    """Text of a config: a UperNet on a few shapes in ADE20K's layout."""
    return SEGMENTOR.replace('DATA_ROOT', str(shapes_ade))


def write_model(folder: Path, config: str, classes: tuple[str, ...] | None = None) -> Path:
    """Write `config.py` and `model.pth`, whose classes, if there are any, are named in it."""
    path = folder / 'config.py'
    path.write_text(config)
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'model.pth')
    return path
