"""Metadata of an exported file: how to prepare images for it and how to read its outputs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from torch import nn

import convnext_mm
from convnext_mm.config.nodes import leaf_datasets, type_name
from convnext_mm.errors import UserError
from convnext_mm.messages.log import log_once


def model_metadata(
    model: nn.Module, outputs: tuple[str, ...], cfg: Config, checkpoint: str, classes: tuple
) -> dict[str, object]:
    """Return the metadata of a model by their names in the file; ``docs/export.md`` explains them.

    Args:
        model: The model as built.
        outputs: The names of the exported outputs.
        cfg: Its config.
        checkpoint: Its weights; the file name goes into the metadata.
        classes: The names of its classes.

    Raises:
        UserError: The test pipeline normalises images, which the metadata cannot express.
    """
    _check_pipeline(cfg)
    processor = cfg.model.get('data_preprocessor') or {}
    channels = model.backbone.in_channels
    swapped = processor.get('bgr_to_rgb') or processor.get('rgb_to_bgr')
    metadata = dict(
        task=_task(outputs),
        channels='RGB' if swapped and channels == 3 else 'BGR',
        mean=_per_channel(processor.get('mean') or [0.0], channels),
        std=_per_channel(processor.get('std') or [1.0], channels),
    )
    if resize := _resize(cfg):
        metadata['resize'] = resize
    if metadata['task'] == 'features':
        metadata['strides'] = list(model.backbone.out_strides)
    else:
        metadata['classes'] = list(classes)
    if 'boxes' in outputs:
        test = model.roi_head.test_cfg
        metadata['score_thr'] = test.score_thr
        metadata['nms_iou'] = test.nms.iou_threshold
    if 'masks' in outputs:
        metadata['mask_thr'] = model.roi_head.test_cfg.mask_thr_binary
    if 'logits' in outputs and model.test_cfg.get('mode') == 'slide':
        metadata['windows'] = dict(
            size=list(model.test_cfg.crop_size), stride=list(model.test_cfg.stride)
        )
    return dict(
        **metadata,
        checkpoint=Path(checkpoint).name,
        config=Path(cfg.filename or '').name,
        made_by=f'convnext-mm {convnext_mm.__version__}',
    )


def as_strings(metadata: Mapping[str, object]) -> dict[str, str]:
    """Return the metadata as strings, which ONNX requires; values other than text become JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in metadata.items()
    }


def _task(outputs: tuple[str, ...]) -> str:
    if 'logits' in outputs:
        return 'semantic segmentation'
    if 'masks' in outputs:
        return 'instance segmentation'
    return 'object detection' if 'boxes' in outputs else 'features'


def _resize(cfg: Config) -> dict[str, object]:
    """Return the first resize of the test pipeline to a fixed scale, or an empty dict."""
    for step in _steps(cfg):
        if type_name(step).endswith('Resize') and step.get('scale'):
            scale = step['scale']
            scale = [scale] * 2 if isinstance(scale, int) else list(scale)
            return dict(scale=scale, keep_ratio=bool(step.get('keep_ratio')))
    return {}


def _check_pipeline(cfg: Config) -> None:
    """Refuse a pipeline that normalises; warn of steps that the metadata do not describe."""
    for step in _steps(cfg):
        name = type_name(step)
        if name == 'Normalize':
            raise UserError(
                'the test pipeline normalises images: move mean, std and bgr_to_rgb from '
                'Normalize to model.data_preprocessor, which the metadata of the file describe'
            )
        if 'Pad' in name or 'Crop' in name:
            log_once(
                f'the test pipeline has a {name} step, which neither the file nor its metadata '
                'contain: apply it to images before you give them to the file',
                logging.WARNING,
            )


def _steps(cfg: Config) -> Iterator[ConfigDict]:
    """Yield the steps of the test pipeline."""
    for dataset in leaf_datasets(cfg.get('test_dataloader')):
        yield from dataset.get('pipeline', ())


def _per_channel(values: Sequence[float], channels: int) -> list[float]:
    """Return one value per channel; a single value is for all channels."""
    return list(values) * (channels if len(values) == 1 else 1)
