"""Draw the images that a config's pipeline feeds to the model, with their annotations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import set_random_seed
from mmengine.structures import BaseDataElement

from convnext_mm.datasets.files import check_data
from convnext_mm.errors import UserError
from convnext_mm.visualization.drawing import (
    colours,
    draw_instances,
    draw_labels,
    text_width,
    write,
)

_SHEET_WIDTH = 1800  # px, about
_TILE = 440  # px, the longer side of a picture at most
_GAP = 12  # px
_CAPTION = 13  # px, height of the letters
_PAPER = 250  # grey


def browse(cfg: Config, split: str, count: int, path: Path, seed: int = 0) -> str:
    """Write a contact sheet of images after the pipeline of a data set, including augmentation.

    The same seed chooses and augments the same images. The sheet does not show what the data
    preprocessor does to batches on the GPU.

    Args:
        cfg: A detection or segmentation config.
        split: ``train`` or ``val``.
        count: The number of images; fewer if the data set has fewer.
        path: The PNG file to write.
        seed: The seed of the choice and of the augmentation.

    Returns:
        A line that says how many images were drawn, and where.

    Raises:
        UserError: The data set does not exist or is empty, or the path does not end in ``.png``.
    """
    if path.suffix.lower() != '.png':
        raise UserError(f'{path}: the file must end in .png')
    if count < 1:
        raise UserError(f'number of images {count}: it must be at least 1')
    loader = f'{split}_dataloader'
    if not cfg.get(loader):
        raise UserError(f'the config has no {loader}')
    check_data(cfg, (loader,))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    set_random_seed(seed)
    dataset = _build(cfg[loader].dataset)
    if not len(dataset):
        raise UserError(
            f'the data set of {loader} has no images. Check that metainfo.classes and the '
            'categories in the annotation file have the same names'
        )
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    set_random_seed(seed)  # building the data set may have used random numbers
    samples = [dataset[int(index)] for index in chosen]
    processor = (cfg.get('model') or {}).get('data_preprocessor') or {}
    rgb = processor.get('rgb_to_bgr', False)
    tiles = [_tile(sample, dataset.metainfo, rgb) for sample in samples]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = _sheet(tiles)
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise UserError(f'{path} cannot be written')
    return f'{len(tiles)} of the {len(dataset):,} images of {loader} are drawn in {path}'


def _build(cfg: ConfigDict) -> Sequence:
    try:
        return DATASETS.build(cfg)
    except ValueError as error:
        if 'need at least one array' in str(error):  # MMEngine fails to serialise an empty data set
            return ()
        raise


def _tile(sample: dict, meta: dict, rgb: bool) -> np.ndarray:
    """An annotated image with a caption, (H, W, 3) uint8 RGB."""
    image, scale = _image(sample['inputs'], rgb)
    data: BaseDataElement = sample['data_samples']
    classes = tuple(meta['classes'])
    palette = colours(meta)
    if 'gt_sem_seg' in data:
        drawn, found = _with_labels(image, data, classes, palette)
    else:
        drawn, found = _with_instances(image, scale, data, classes, palette)
    height, width = sample['inputs'].shape[-2:]
    name = Path(data.get('img_path') or '').name
    return _captioned(drawn, name, f'{width}x{height}, {found}')


def _image(inputs: torch.Tensor, rgb: bool) -> tuple[np.ndarray, float]:
    """Return the model's input as RGB in the size of a tile, and the scale factor."""
    image = inputs.permute(1, 2, 0).numpy()
    if image.dtype != np.uint8:  # normalised in the pipeline: stretch the values to the full range
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    if image.shape[2] != 3:
        image = np.repeat(image[..., :1], 3, axis=2)
    if not rgb:
        image = image[..., ::-1]
    scale = _TILE / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in (image.shape[1], image.shape[0])]
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=shrink), scale


def _with_instances(
    image: np.ndarray,
    scale: float,
    data: BaseDataElement,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> tuple[np.ndarray, str]:
    objects = data.gt_instances
    boxes = getattr(objects.bboxes, 'tensor', objects.bboxes).numpy() * scale
    masks = objects.get('masks')
    if masks is not None:
        masks = masks.resize(image.shape[:2]).to_ndarray()
    ignored = len(data.get('ignored_instances', ()))
    found = f'{len(boxes)} object{"s" if len(boxes) != 1 else ""}'
    if len(classes) == 1:  # name a single class once, not at each object
        found, classes = f'{len(boxes)} x {classes[0]}', ('',)
    found += f', {ignored} ignored' if ignored else ''
    return draw_instances(image, boxes, objects.labels.numpy(), classes, palette, masks), found


def _with_labels(
    image: np.ndarray,
    data: BaseDataElement,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> tuple[np.ndarray, str]:
    labels = data.gt_sem_seg.data[0].numpy()
    known = labels[labels < len(classes)]
    number = len(np.unique(known))
    found = f'{number} class{"es" if number != 1 else ""}'
    if known.size < labels.size:
        found += f', {1 - known.size / labels.size:.0%} ignored'
    size = image.shape[1::-1]
    labels = cv2.resize(labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return draw_labels(image, labels, classes, palette), found


def _captioned(image: np.ndarray, name: str, found: str) -> np.ndarray:
    """Two lines above an image: the file's name, shortened in its middle, and what is in it."""
    room = image.shape[1]
    short = name
    while short and text_width(short, _CAPTION) > room:
        keep = (len(short.replace('…', '')) - 1) // 2
        short = f'{name[:keep]}…{name[-keep:]}' if keep > 0 else ''
    line = round(_CAPTION * 1.35)
    image = cv2.copyMakeBorder(
        image, 2 * line + 3, 0, 0, 0, cv2.BORDER_CONSTANT, value=(_PAPER,) * 3
    )
    image = write(image, short, (0, 0), (30, 30, 30), _CAPTION)
    return write(image, found, (0, line), (120, 120, 120), _CAPTION)


def _sheet(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles in rows; columns are as wide as the widest tile, rows as high as their highest."""
    width = max(tile.shape[1] for tile in tiles)
    columns = min(len(tiles), max(1, round(_SHEET_WIDTH / (width + _GAP))))
    # As many in the last row as in the others, if that takes no more rows.
    columns = math.ceil(len(tiles) / math.ceil(len(tiles) / columns))
    rows = []
    for start in range(0, len(tiles), columns):
        row = tiles[start : start + columns]
        height = max(tile.shape[0] for tile in row)
        cells = [_on_paper(tile, height, width) for tile in row]
        cells += [np.full_like(cells[0], _PAPER)] * (columns - len(cells))
        rows.append(np.hstack(cells))
    return cv2.copyMakeBorder(
        np.vstack(rows), _GAP, 0, _GAP, 0, cv2.BORDER_CONSTANT, value=(_PAPER,) * 3
    )


def _on_paper(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - tile.shape[0] + _GAP, width - tile.shape[1] + _GAP
    return cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(_PAPER,) * 3)
