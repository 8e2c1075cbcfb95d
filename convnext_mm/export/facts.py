"""What whoever runs an exported file must know of the model, as the file's metadata."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from torch import nn

import convnext_mm
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.errors import UserError
from convnext_mm.messages.log import log_once


def facts_of(
    model: nn.Module, outputs: tuple[str, ...], cfg: Config, checkpoint: str, classes: tuple
) -> dict[str, object]:
    """The facts of a model by their names in the file; ``docs/export.md`` explains them.

    Raises:
        UserError: The test pipeline normalises pictures, and the model would do it again.
    """
    _check_steps(cfg)
    processor = cfg.model.get('data_preprocessor') or {}
    channels = model.backbone.in_channels
    swapped = processor.get('bgr_to_rgb') or processor.get('rgb_to_bgr')
    facts = dict(
        task=_task(outputs),
        channels='RGB' if swapped and channels == 3 else 'BGR',
        mean=_each(processor.get('mean') or [0.0], channels),
        std=_each(processor.get('std') or [1.0], channels),
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
    for step in _steps(cfg):
        if step['type'].endswith('Resize') and step.get('scale'):
            scale = step['scale']
            scale = [scale] * 2 if isinstance(scale, int) else list(scale)
            return dict(scale=scale, keep_ratio=bool(step.get('keep_ratio')))
    return {}


def _check_steps(cfg: Config) -> None:
    """Refuse what the facts would be wrong with, and say what they leave out."""
    for step in _steps(cfg):
        name = step['type'].rpartition('.')[2]
        if name == 'Normalize':
            raise UserError(
                'the test pipeline normalises pictures: move mean, std and bgr_to_rgb from '
                'Normalize to model.data_preprocessor, which the file states'
            )
        if 'Pad' in name or 'Crop' in name:
            log_once(
                f'{name} of the test pipeline is neither in the file nor in its metadata: who '
                'prepares pictures for it has to do the same',
                logging.WARNING,
            )


def _steps(cfg: Config) -> Iterator[ConfigDict]:
    """What the config's test pipeline does to a picture."""
    for dataset in leaf_datasets(cfg.get('test_dataloader')):
        yield from dataset.get('pipeline', ())


def _each(values: Sequence[float], channels: int) -> list[float]:
    """One for each channel, where one may stand for all."""
    return list(values) * (channels if len(values) == 1 else 1)
