"""Run one training step of small models, one of each kind, with a ConvNeXt backbone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from convnext_mm.diagnose.doctor.guard import elapsed, guarded
from convnext_mm.diagnose.doctor.installation import can_import
from convnext_mm.inference.data_samples import empty_sample
from convnext_mm.messages.findings import Finding, error, ok

_CHANNELS = (8, 16, 24, 32)
_SIDE = 128  # px
# Layer widths and numbers of boxes in the base configs -> the small model's.
_SMALLER = {1000: 32, 2000: 64, 1024: 32, 512: 16, 256: 16}
_BASE_CONFIGS = {
    'Mask R-CNN': 'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'Cascade Mask R-CNN': 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'RetinaNet': 'mmdet::_base_/models/retinanet_r50_fpn.py',
    'UperNet': 'mmseg::_base_/models/upernet_r50.py',
}


def check_training_steps() -> Iterator[Finding]:
    """Run each model forward and backward, on the GPU if there is one.

    Models of a library that cannot be imported are left out.
    """
    for name, base in _BASE_CONFIGS.items():
        library = base.partition('::')[0]
        if can_import(library):
            yield from guarded(name, _training_step, name, base, library)


def _training_step(name: str, base: str, scope: str) -> Finding:
    start = time.perf_counter()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(_small_model(get_config(base).model))
        model = revert_sync_batchnorm(model).to(device).train()
        data = _labelled_image(scope)
        losses = model(**model.data_preprocessor(data, True), mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
    without = [n for n, p in model.backbone.named_parameters() if p.grad is None]
    if without or not loss.isfinite():
        return error(name, f'the loss is {loss:.3g}, {len(without)} parameters have no gradient')
    return ok(name, f'forward and backward pass on {device}, {elapsed(start)}')


def _small_model(model: Config) -> Config:
    """Return a copy of a model config with narrow layers and a ConvNeXt with few channels."""
    model = _shrink(model)
    stages = (1, 2, 3) if model.type == 'RetinaNet' else (0, 1, 2, 3)
    channels = [_CHANNELS[i] for i in stages]
    model.pop('pretrained', None)
    model.backbone = dict(
        type='convnext_mm.ConvNeXt',
        arch=dict(depths=(1, 1, 1, 1), channels=_CHANNELS),
        out_indices=stages,
    )
    if 'neck' in model:
        model.neck.in_channels = channels
        if 'start_level' in model.neck:  # the small backbone has only the maps that the neck reads
            model.neck.start_level = 0
    else:
        model.data_preprocessor.size = (_SIDE, _SIDE)
        model.decode_head.in_channels = channels
        model.auxiliary_head.in_channels = channels[2]
    return model


def _shrink(node: object) -> object:
    if isinstance(node, dict):
        return type(node)({key: _shrink(value) for key, value in node.items()})
    if isinstance(node, (list, tuple)):
        return type(node)(_shrink(value) for value in node)
    return _SMALLER.get(node, node) if type(node) is int else node


def _labelled_image(scope: str) -> dict:
    """Return a batch of two noise images with one object each, as a data loader gives it."""
    size = (_SIDE, _SIDE)
    sample = empty_sample(scope, *size)
    low, high = _SIDE // 4, _SIDE // 2
    if scope == 'mmseg':
        labels = torch.zeros(1, *size, dtype=torch.long)
        labels[:, low:high, low:high] = 1
        sample.gt_sem_seg = PixelData(data=labels)
    else:
        from mmdet.structures.mask import BitmapMasks

        mask = np.zeros((1, *size), np.uint8)
        mask[:, low:high, low:high] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[low, low, high, high]], dtype=torch.float32),
            labels=torch.tensor([0]),
            masks=BitmapMasks(mask, *size),
        )
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    # Batch norm needs two images: UPerHead pools each one to 1x1, a single value per channel.
    return dict(inputs=[image, image], data_samples=[sample, sample.clone()])
