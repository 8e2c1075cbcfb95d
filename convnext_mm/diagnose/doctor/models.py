"""A training step of each family of heads on a ConvNeXt, as small as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from convnext_mm.diagnose.doctor.findings import Finding, guarded, ok, seconds, wrong

_CHANNELS = (8, 16, 24, 32)
_SIDE = 128  # px
# Widths and numbers of boxes of the libraries' configs -> ours.
_SMALLER = {1000: 32, 2000: 64, 1024: 32, 512: 16, 256: 16}
_FAMILIES = {
    'Mask R-CNN': 'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'Cascade Mask R-CNN': 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'RetinaNet': 'mmdet::_base_/models/retinanet_r50_fpn.py',
    'UperNet': 'mmseg::_base_/models/upernet_r50.py',
}


def check_models() -> Iterator[Finding]:
    """Forward and backward pass of every family, on the GPU where there is one."""
    for name, base in _FAMILIES.items():
        yield from guarded(name, _step, name, base)


def _step(name: str, base: str) -> Finding:
    start = time.perf_counter()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    scope = base.partition('::')[0]
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(_small(get_config(base).model))
        model = revert_sync_batchnorm(model).to(device).train()
        data = _labelled_image(scope)
        losses = model(**model.data_preprocessor(data, True), mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
    without = [n for n, p in model.backbone.named_parameters() if p.grad is None]
    if without or not loss.isfinite():
        return wrong(name, f'loss {loss:.3g}, {len(without)} parameters without gradient')
    return ok(name, f'forward and backward on {device}, {seconds(start)}')


def _small(model: Config) -> Config:
    """The library's model, narrow, on a ConvNeXt with a few channels."""
    model = _shrunk(model)
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
        if 'start_level' in model.neck:  # the backbone gives no map that is not read
            model.neck.start_level = 0
    else:
        model.data_preprocessor.size = (_SIDE, _SIDE)
        model.decode_head.in_channels = channels
        model.auxiliary_head.in_channels = channels[2]
    return model


def _shrunk(node: object) -> object:
    if isinstance(node, dict):
        return type(node)({key: _shrunk(value) for key, value in node.items()})
    if isinstance(node, (list, tuple)):
        return type(node)(_shrunk(value) for value in node)
    return _SMALLER.get(node, node) if type(node) is int else node


def _labelled_image(scope: str) -> dict:
    """Noise with an object in it, as the pipelines pack it."""
    shape = (_SIDE, _SIDE)
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0))
    low, high = _SIDE // 4, _SIDE // 2
    if scope == 'mmseg':
        from mmseg.structures import SegDataSample

        labels = torch.zeros(1, *shape, dtype=torch.long)
        labels[:, low:high, low:high] = 1
        sample: BaseDataElement = SegDataSample(metainfo=meta)
        sample.gt_sem_seg = PixelData(data=labels)
    else:
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks

        mask = np.zeros((1, *shape), np.uint8)
        mask[:, low:high, low:high] = 1
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[low, low, high, high]], dtype=torch.float32),
            labels=torch.tensor([0]),
            masks=BitmapMasks(mask, *shape),
        )
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    # Two: the batch norm behind pooling to 1x1 has too few values of one.
    return dict(inputs=[image, image], data_samples=[sample, sample.clone()])
