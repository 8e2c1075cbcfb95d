"""Parameters and FLOPs of a config's model, part by part, without weights or memory.

The rule is that of the published figures (MMCV 1.x's counter on ``forward_dummy`` of MMDetection
2.x and MMSegmentation 0.x) without its biases, norms, activations and pooling, 0.1% of a model:

- a FLOP is one multiply-add of a convolution or matrix product; nothing else counts;
- one image passes once through backbone, neck and the heads that predict. Sliding windows overlap,
  so a test with them costs more;
- each box head gets 1000 proposals, each mask head 100 RoIs, whatever the config keeps;
- auxiliary heads of segmentors only train: they have parameters and no FLOPs;
- all parameters count, frozen ones as well.

All tensors are on the meta device and PyTorch's own counter reads their shapes. MMEngine's
``get_model_complexity_info`` traces whole detectors on real tensors, RPN and NMS included, so that
the number of RoIs is chance; on meta tensors its tracing fails; and it counts norms and resizing.
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
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.errors import UserError

COCO_SHAPE = (1280, 800)
BOX_PROPOSALS = 1000
MASK_ROIS = 100
# The stride of the coarsest map of backbones.
SMALLEST_SIDE = 32

RULE = (
    'FLOPs are the multiply-adds of convolutions and matrix products in one pass of one image, '
    f'with {BOX_PROPOSALS} proposals in each box head and {MASK_ROIS} RoIs in each mask head; '
    'auxiliary heads of segmentors only train and cost none. All parameters count.'
)


@dataclass(frozen=True)
class Part:
    """A part of a model: its number of parameters, and its multiply-adds or None if unknown."""

    params: int
    flops: int | None


@dataclass(frozen=True)
class ModelStats:
    """What :func:`model_stats` finds.

    Attributes:
        shape: Width and height of the image in pixels.
        parts: By the name of the module in the model, such as ``backbone`` and
            ``roi_head.bbox_head``; the heads of a cascade's stages together.
        total: The whole model; its FLOPs are unknown where those of a part are.
        notes: What a reader should know, such as what is not counted and why.
    """

    shape: tuple[int, int]
    parts: dict[str, Part]
    total: Part
    notes: tuple[str, ...]


def model_stats(cfg: Config, shape: tuple[int, int] | None = None) -> ModelStats:
    """Count parameters and FLOPs of a config's model by the rule above.

    Two-stage detectors with standard or cascade RoI heads, dense single-stage detectors and
    encoder-decoder segmentors are counted in full. Of other models it is backbone and neck; the
    rest has None for its FLOPs and a note.

    Args:
        cfg: A config with a `model`; left as it is.
        shape: Width and height of the image in pixels, by default :func:`default_shape`. It is
            padded as the config's data preprocessor does.

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
    parts = {name: Part(params[name], flops.get(name)) for name in {**params, **flops}}
    uncounted = [name for name, part in parts.items() if part.flops is None]
    if uncounted:
        notes += failures or [
            'counted are backbone, neck and the heads of two-stage detectors, of dense '
            'single-stage detectors and of encoder-decoder segmentors'
        ]
        notes.append(f'not counted, so there is no total: FLOPs of {", ".join(uncounted)}')
    total = Part(sum(params.values()), None if uncounted else sum(flops.values()))
    return ModelStats((width, height), parts, total, tuple(notes))


def default_shape(cfg: Config) -> tuple[int, int]:
    """Width and height of the published figures.

    COCO's 1280x800, or the scale to which a segmentation config resizes test images.

    Raises:
        UserError: A segmentation config resizes to no scale.
    """
    if cfg.get('default_scope') != 'mmseg':
        return COCO_SHAPE
    for dataset in leaf_datasets(cfg.get('test_dataloader')):
        for transform in dataset.get('pipeline', []):
            scale = transform.get('scale')
            if transform['type'].endswith('Resize') and isinstance(scale, (tuple, list)):
                return tuple(scale)
    raise UserError(
        'the config does not resize test images to a scale: say which width and height to count '
        'for (--shape)'
    )


def stats_table(stats: ModelStats) -> Table:
    """Lay out the parts and their total in millions of parameters and billions of FLOPs."""
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
    """Number of parameters by the part that holds them; shared ones count once."""
    params = Counter()
    for name, parameter in model.named_parameters():
        path = name.split('.')
        params['.'.join(path[: 2 if path[0] == 'roi_head' else 1])] += parameter.numel()
    return params


def _flops(model: nn.Module, image: Tensor) -> tuple[dict[str, int], list[str]]:
    """Multiply-adds of the parts that are known and run on `image`; why others do not."""
    flops: dict[str, int] = {}
    failures: list[str] = []

    def run(name: str, part: Callable, x: object) -> object:
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                out = part(x)
        except Exception as error:  # other libraries' code, which may ask for more than shapes
            reason = str(error).partition('\n')[0]
            failures.append(f'{name} does not run on shapes alone: {reason}')
            return None
        flops[name] = counter.get_total_flops() // 2  # it counts multiplications and additions
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
    """The heads of the kinds of models known here, as functions of the features."""
    if hasattr(model, 'decode_head'):
        heads = {'decode_head': lambda features: _decode(model.decode_head, features)}
        if getattr(model, 'auxiliary_head', None) is not None:
            heads['auxiliary_head'] = lambda features: None
        return heads
    if hasattr(model, 'rpn_head') and hasattr(model, 'roi_head'):
        return {'rpn_head': model.rpn_head, **_roi_heads(model.roi_head)}
    if hasattr(model, 'bbox_head'):
        from mmdet.models.detectors import SingleStageDetector  # a segmentor does without MMDet

        if isinstance(model, SingleStageDetector):
            return {'bbox_head': model.bbox_head}
    return {}


def _decode(heads: nn.Module, features: object) -> None:
    """Run a decode head or, of a cascade, each on the output of the one before."""
    first, *others = _as_list(heads)
    out = first(features)
    for head in others:
        out = head(features, out)


def _roi_heads(roi_head: nn.Module) -> dict[str, Callable]:
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead

    # Not their subclasses: those call their heads in ways of their own.
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
    """Run the heads of all stages on what RoIAlign, which needs real tensors, would give them."""
    for head, extractor in zip(_as_list(heads), _as_list(extractors)):
        size = extractor.roi_layers[0].output_size
        head(torch.empty(num_rois, extractor.out_channels, *size, device='meta'))


def _as_list(modules: nn.Module) -> list[nn.Module]:
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]
