"""Parameters and FLOPs of each part of a config's model, without weights or memory.

The published figures come from the counter of MMCV 1.x on ``forward_dummy`` of MMDetection 2.x and
MMSegmentation 0.x. This module counts by the same rules, but leaves out biases, norms, activations
and pooling, which are 0.1% of a model:

- A FLOP is one multiply-add of a convolution or matrix product. Nothing else counts.
- One image passes once through the backbone, the neck and the heads that predict. A test with
  sliding windows costs more, because windows overlap.
- Each box head gets 1000 proposals and each mask head 100 RoIs, for every config.
- Auxiliary heads of segmentors are for training only: they have parameters, but no FLOPs.
- All parameters count, including frozen ones.

All tensors are on the meta device, and PyTorch's FLOP counter reads their shapes. MMEngine's
``get_model_complexity_info`` does not work here: it traces a whole detector on real tensors, so the
number of RoIs depends on random weights; its tracing fails on meta tensors; and it counts norms and
resizing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.config import Config
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import is_classification, is_segmentation, leaf_datasets, type_name
from convnext_mm.errors import UserError

COCO_SHAPE = (1280, 800)
BOX_PROPOSALS = 1000
MASK_ROIS = 100
SMALLEST_SIDE = 32  # px, the stride of the last stage

RULE = (
    'FLOPs are the multiply-adds of convolutions and matrix products for one image, '
    f'with {BOX_PROPOSALS} proposals in each box head and {MASK_ROIS} RoIs in each mask head. '
    'Auxiliary heads of segmentors are for training only and count 0 FLOPs. All parameters count.'
)


@dataclass(frozen=True)
class ModulePart:
    """The parameters of one part of a model, and its multiply-adds; None if they are unknown."""

    params: int
    flops: int | None


@dataclass(frozen=True)
class ModelStats:
    """Parameters and FLOPs of a model.

    Attributes:
        shape: Width and height of the image in pixels.
        parts: The parts by module name, such as ``backbone`` and ``roi_head.bbox_head``. The heads
            of all stages of a cascade are one part.
        total: The whole model. Its FLOPs are None if the FLOPs of a part are unknown.
        notes: Sentences for the reader, such as which FLOPs are not counted and why.
    """

    shape: tuple[int, int]
    parts: dict[str, ModulePart]
    total: ModulePart
    notes: tuple[str, ...]


def model_stats(cfg: Config, shape: tuple[int, int] | None = None) -> ModelStats:
    """Count the parameters and FLOPs of a config's model by the rules of this module.

    Two-stage detectors with standard or cascade RoI heads, dense single-stage detectors and
    encoder-decoder segmentors are counted completely. For other models only the FLOPs of backbone
    and neck are counted, and a note names the other parts.

    Args:
        cfg: A config with a `model`. It is not changed.
        shape: Width and height of the image in pixels, by default :func:`default_shape`. The image
            is padded as by the config's data preprocessor.

    Raises:
        UserError: The config has no model, or the shape is too small.
    """
    if 'model' not in cfg:
        raise UserError('the config has no model')
    shape = default_shape(cfg) if shape is None else shape
    if min(shape) < SMALLEST_SIDE:
        raise UserError(
            f'the shape {shape[0]}x{shape[1]} is too small: each side must be at least '
            f'{SMALLEST_SIDE} pixels'
        )
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    width, height = (-(-side // divisor) * divisor for side in shape)
    notes = []
    if (width, height) != tuple(shape):
        notes.append(
            f'{shape[0]}x{shape[1]} is padded to {width}x{height}: pad_size_divisor={divisor}'
        )
    model = build_on_meta(cfg).eval()
    channels = cfg.model.get('backbone', {}).get('in_channels', 3)
    image = torch.empty(1, channels, height, width, device='meta')
    flops, failures = _flops(model, image)
    params = _params(model)
    parts = {name: ModulePart(params[name], flops.get(name)) for name in {**params, **flops}}
    uncounted = [name for name, part in parts.items() if part.flops is None]
    if uncounted:
        notes += failures or [
            'FLOPs are counted for backbone, neck and the heads of two-stage detectors, dense '
            'single-stage detectors, encoder-decoder segmentors and classifiers'
        ]
        notes.append(f'FLOPs of {", ".join(uncounted)} are not counted, so there is no total')
    total = ModulePart(sum(params.values()), None if uncounted else sum(flops.values()))
    return ModelStats((width, height), parts, total, tuple(notes))


def default_shape(cfg: Config) -> tuple[int, int]:
    """Return width and height of the image for the published figures.

    This is 1280x800 for detectors. For segmentors it is the scale of the first resize in the test
    pipeline. For classifiers it is the size of the crop there, or else that scale.

    Raises:
        UserError: The test pipeline of a segmentation or classification config resizes to no scale.
    """
    if not is_segmentation(cfg) and not is_classification(cfg):
        return COCO_SHAPE
    for dataset in leaf_datasets(cfg.get('test_dataloader')):
        steps = dataset.get('pipeline', [])
        for step in steps:
            if type_name(step) == 'CenterCrop' and isinstance(step.crop_size, int):
                return step.crop_size, step.crop_size
        for step in steps:
            scale = step.get('scale')
            if type_name(step).endswith('Resize') and isinstance(scale, (tuple, list)):
                return tuple(scale)
    raise UserError(
        'the config does not resize test images to a scale: give the width and height of the '
        'image (--shape)'
    )


def stats_table(stats: ModelStats) -> Table:
    """Lay out millions of parameters and billions of FLOPs, one row per part and the total."""
    table = Table()
    table.add_column('part')
    table.add_column('parameters', justify='right')
    table.add_column('FLOPs', justify='right')
    for name, part in {**stats.parts, 'total': stats.total}.items():
        if name == 'total':
            table.add_section()
        flops = '-' if part.flops is None else f'{part.flops / 1e9:.1f}G'
        table.add_row(name, f'{part.params / 1e6:.1f}M', flops)
    return table


def _params(model: nn.Module) -> Counter[str]:
    """Return the number of parameters of each part; shared parameters count once."""
    params = Counter()
    for name, parameter in model.named_parameters():
        path = name.split('.')
        params['.'.join(path[: 2 if path[0] == 'roi_head' else 1])] += parameter.numel()
    return params


def _flops(model: nn.Module, image: Tensor) -> tuple[dict[str, int], list[str]]:
    """Return the multiply-adds of each part that runs on `image`, and why other parts fail."""
    flops: dict[str, int] = {}
    failures: list[str] = []

    def run(name: str, part: Callable, x: object) -> object:
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                out = part(x)
        except Exception as error:  # code of other libraries may read values
            reason = str(error).partition('\n')[0]
            failures.append(f'{name} does not run on the meta device: {reason}')
            return None
        flops[name] = counter.get_total_flops() // 2  # PyTorch counts a multiply-add as two
        return out

    features = image
    for name in ('backbone', 'neck'):
        if getattr(model, name, None) is not None:
            features = run(name, getattr(model, name), features)
            if features is None:
                return flops, failures
    for name, head in _heads(model).items():
        run(name, head, features)
    return flops, failures


def _heads(model: nn.Module) -> dict[str, Callable]:
    """Return the heads of a supported model, as functions of the features."""
    if hasattr(model, 'decode_head'):
        heads = {'decode_head': lambda features: _decode(model.decode_head, features)}
        if getattr(model, 'auxiliary_head', None) is not None:
            heads['auxiliary_head'] = lambda features: None
        return heads
    if hasattr(model, 'rpn_head') and hasattr(model, 'roi_head'):
        return {'rpn_head': model.rpn_head, **_roi_heads(model.roi_head)}
    if hasattr(getattr(model, 'head', None), 'fc'):
        return {'head': model.head}  # a classifier
    if hasattr(model, 'bbox_head'):
        from mmdet.models.detectors import SingleStageDetector  # a segmentor needs no MMDetection

        if isinstance(model, SingleStageDetector):
            return {'bbox_head': model.bbox_head}
    return {}


def _decode(heads: nn.Module, features: object) -> None:
    """Run a decode head, or each head of a cascade on the output of the head before it."""
    first, *others = _as_list(heads)
    out = first(features)
    for head in others:
        out = head(features, out)


def _roi_heads(roi_head: nn.Module) -> dict[str, Callable]:
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead

    # A subclass may call its heads differently.
    if type(roi_head) not in (CascadeRoIHead, StandardRoIHead) or roi_head.with_shared_head:
        return {}
    heads = {}
    if roi_head.with_bbox:
        heads['roi_head.bbox_head'] = lambda features: _run_on_rois(
            roi_head.bbox_head, roi_head.bbox_roi_extractor, BOX_PROPOSALS
        )
    if roi_head.with_mask:
        heads['roi_head.mask_head'] = lambda features: _run_on_rois(
            roi_head.mask_head, roi_head.mask_roi_extractor, MASK_ROIS
        )
    return heads


def _run_on_rois(heads: nn.Module, extractors: nn.Module, num_rois: int) -> None:
    """Run the heads of all stages on RoI features; RoIAlign itself needs real tensors."""
    for head, extractor in zip(_as_list(heads), _as_list(extractors)):
        size = extractor.roi_layers[0].output_size
        head(torch.empty(num_rois, extractor.out_channels, *size, device='meta'))


def _as_list(modules: nn.Module) -> list[nn.Module]:
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]
