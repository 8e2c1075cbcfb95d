"""Draw the images that a config's pipeline feeds to the model, with their annotations."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import set_random_seed
from mmengine.structures import BaseDataElement

from convnext_mm.config.disk import check_folder
from convnext_mm.config.nodes import leaf_datasets, type_name
from convnext_mm.datasets.files import check_data
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import raise_errors
from convnext_mm.messages.wording import counted, listed
from convnext_mm.visualization.contact_sheet import contact_sheet, with_caption
from convnext_mm.visualization.image_files import write_image
from convnext_mm.visualization.samples import draw_sample

_SHEET_WIDTH = 1800  # px, about
_TILE = 440  # px, the longer side of a picture at most


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
        UserError: The data set does not exist or is empty, the path does not end in ``.png``, or
            the file cannot be written.
    """
    if path.suffix.lower() != '.png':
        raise UserError(f'{path}: the file must end in .png')
    if path.is_dir():
        raise UserError(f'{path}: this is a folder; the file to write must end in .png')
    raise_errors(check_folder(path.parent))
    if count < 1:
        raise UserError(f'number of images {count}: it must be at least 1')
    loader = f'{split}_dataloader'
    if not cfg.get(loader):
        raise UserError(f'the config has no {loader}')
    check_data(cfg, (loader,))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    set_random_seed(seed)
    dataset = _build(_with_aligned_annotations(cfg[loader].dataset))
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
    try:
        write_image(contact_sheet(tiles, _SHEET_WIDTH)[..., ::-1], path)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror or error}') from error
    return f'{len(tiles)} of the {len(dataset):,} images of {loader} are drawn in {path}'


def _with_aligned_annotations(cfg: ConfigDict) -> ConfigDict:
    """Return a data set that resizes annotations with an image that was resized before them."""
    cfg = copy.deepcopy(cfg)
    for leaf in leaf_datasets(dict(dataset=cfg)):
        leaf.pipeline = [
            step
            for given in leaf.get('pipeline', ())
            for step in ([given, _align] if _loads_annotations(given) else [given])
        ]
    return cfg


def _loads_annotations(transform: ConfigDict) -> bool:
    name = type_name(transform)  # and not FilterAnnotations
    return name.startswith('Load') and 'Annotations' in name


def _align(results: dict) -> dict:
    """Resize annotations, which have just been loaded, from the image file to the current image.

    MMDetection's test pipelines load the annotations after the image was resized, because the
    predictions are scored in the coordinates of the file.
    """
    size, original = results['img'].shape[:2], results['ori_shape'][:2]
    if size == original:
        return results
    if len(boxes := results.get('gt_bboxes', ())):
        factors = [new / old for new, old in zip(size[::-1], original[::-1])]
        if isinstance(boxes, np.ndarray):
            boxes *= factors * 2
        else:
            boxes.rescale_(factors)
    if masks := results.get('gt_masks'):
        results['gt_masks'] = masks.resize(size)
    if (labels := results.get('gt_seg_map')) is not None:
        results['gt_seg_map'] = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return results


def _build(cfg: ConfigDict) -> Sequence:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
            return DATASETS.build(cfg)
    except ValueError as error:
        if 'need at least one array' in str(error):  # MMEngine fails to serialise an empty data set
            return ()
        raise


def _tile(sample: dict, meta: dict, rgb: bool) -> np.ndarray:
    """An annotated image with a caption, (H, W, 3) uint8 RGB."""
    image, scale = _image(sample['inputs'], rgb)
    data: BaseDataElement = sample['data_samples']
    classes = meta['classes']
    if 'gt_sem_seg' in data:
        found = _count_classes(data.gt_sem_seg.data[0].numpy(), classes)
    elif 'gt_label' in data:
        found = listed(classes[label] for label in data.gt_label.tolist())
    else:
        found = _count_objects(data, classes)
    height, width = sample['inputs'].shape[-2:]
    name = Path(data.get('img_path') or '').name
    drawn = draw_sample(image, data, 'gt', meta, scale)
    return with_caption(drawn, name, f'{width}x{height}, {found}')


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


def _count_objects(data: BaseDataElement, classes: Sequence[str]) -> str:
    number, ignored = len(data.gt_instances), len(data.get('ignored_instances', ()))
    # A single class is not written beside each object.
    found = f'{number} x {classes[0]}' if len(classes) == 1 else counted(number, 'object')
    return found + (f', {ignored} ignored' if ignored else '')


def _count_classes(labels: np.ndarray, classes: Sequence[str]) -> str:
    known = labels[labels < len(classes)]
    found = counted(len(np.unique(known)), 'class')
    if known.size < labels.size:
        found += f', {1 - known.size / labels.size:.0%} ignored'
    return found
