"""What whoever runs an exported file must know of the model, as the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from torch import nn

import convnext_mm
from convnext_mm.data.layouts import leaf_datasets


def facts_of(
    model: nn.Module, outputs: tuple[str, ...], cfg: Config, checkpoint: str, classes: tuple
) -> dict[str, object]:
    """The facts of a model by their names in the file; ``docs/export.md`` explains them."""
    processor = cfg.model.get('data_preprocessor') or {}
    channels = model.backbone.in_channels
    swapped = processor.get('bgr_to_rgb') or processor.get('rgb_to_bgr')
    facts = dict(
        task=_task(outputs),
        channels='RGB' if swapped and channels == 3 else 'BGR',
        mean=list(processor.get('mean') or [0.0] * channels),
        std=list(processor.get('std') or [1.0] * channels),
    )
    if resize := _resize(cfg):
        facts['resize'] = resize
    if facts['task'] == 'features':
        facts['strides'] = list(model.backbone.out_strides)
    else:
        facts['classes'] = list(classes)
    if 'boxes' in outputs:
        test = model.roi_head.test_cfg
        facts['score_thr'] = test.score_thr
        facts['nms_iou'] = test.nms.iou_threshold
    if 'masks' in outputs:
        facts['mask_thr'] = model.roi_head.test_cfg.mask_thr_binary
    if 'logits' in outputs and model.test_cfg.get('mode') == 'slide':
        facts['windows'] = dict(
            size=list(model.test_cfg.crop_size), stride=list(model.test_cfg.stride)
        )
    return dict(
        **facts,
        checkpoint=Path(checkpoint).name,
        config=Path(cfg.filename).name,
        made_by=f'convnext-mm {convnext_mm.__version__}',
    )


def as_metadata(facts: Mapping[str, object]) -> dict[str, str]:
    """Text as it is, all else as JSON: ONNX's metadata are strings."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in facts.items()
    }


def _task(outputs: tuple[str, ...]) -> str:
    if 'logits' in outputs:
        return 'semantic segmentation'
    if 'masks' in outputs:
        return 'instance segmentation'
    return 'object detection' if 'boxes' in outputs else 'features'


def _resize(cfg: Config) -> dict[str, object]:
    """The first size to which the config's test pipeline brings a picture, if it does."""
    for dataset in leaf_datasets(cfg.get('test_dataloader')):
        for step in dataset.get('pipeline', ()):
            if step['type'].endswith('Resize') and step.get('scale'):
                scale = step['scale']
                return dict(scale=list(scale), keep_ratio=bool(step.get('keep_ratio')))
    return {}
