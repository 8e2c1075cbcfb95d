"""A trained detector or segmentor that takes pictures instead of a data set."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement

from convnext_mm.config import classes
from convnext_mm.config.heads import num_classes_by_head, resize_heads
from convnext_mm.config.model_file import load_model
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.errors import UserError
from convnext_mm.inference.sources import Frame
from convnext_mm.weights.files import read_checkpoint

# MMDetection's mask head, with every picture; a user can do nothing about it.
warnings.filterwarnings('ignore', message='To copy construct from a tensor')


class Predictor:
    """A model with the weights of a checkpoint, and the test pipeline of its config.

    A file is read by the config's own loader, and so is what ``tools/test.py`` would have seen:
    with OpenCV, MMCV's default, pictures are turned as their EXIF data say, grey ones get three
    equal channels, transparency is dropped, and of 16 bits a channel the upper 8 are kept.

    The classes are those of the checkpoint, if it names them, and the heads are built for as many;
    otherwise those of the config's test set.

    Args:
        cfg: A detection or segmentation config; left as it is.
        checkpoint: A trained model: a path, a URL or the name of published weights.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.

    Attributes:
        meta: ``classes`` and perhaps ``palette``, as in a data set's ``metainfo``.
        model: The model, ready to predict.
        segments: Whether it gives label maps, and not objects.

    Raises:
        UserError: The checkpoint is not there or does not fit the config, there is no GPU, or the
            config has no test pipeline that reads a picture.
    """

    def __init__(self, cfg: Config, checkpoint: str | Path, device: str | None = None) -> None:
        device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        if device.startswith('cuda') and not torch.cuda.is_available():
            raise UserError(f'--device {device}: PyTorch sees no GPU; tools/doctor.py says why')
        self.device = torch.device(device)
        self._load, self._transform = _split_pipeline(cfg)
        model_cfg = copy.deepcopy(cfg.model)
        content = read_checkpoint(checkpoint)
        self.meta = _fit_classes(model_cfg, classes.of_checkpoint(content), cfg, str(checkpoint))
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        model = MODELS.build(model_cfg)
        load_model(model, content, str(checkpoint))
        self.segments = hasattr(model, 'decode_head')
        self.model = revert_sync_batchnorm(model).to(self.device).eval()

    def read(self, path: Path) -> Frame:
        """Read a picture.

        Raises:
            Exception: The file is none; of whatever type the config's loader raises.
        """
        return Frame(path, self._load(dict(img_path=str(path), img_id=0))['img'])

    def predict(
        self, frames: Iterable[Frame], batch_size: int = 1
    ) -> Iterator[tuple[Frame, BaseDataElement]]:
        """Predictions, on the CPU, with the frames they are for, in the order of the frames.

        A batch holds frames in a row that have the same shape for the model. Others would be
        padded to the largest, and predictions would depend on the batch size.

        Raises:
            UserError: The GPU has too little memory for a batch.
        """
        inputs = ((frame, self.prepare(frame)) for frame in frames)
        for _, alike in groupby(inputs, key=lambda pair: pair[1]['inputs'].shape):
            while batch := list(islice(alike, batch_size)):
                yield from zip((frame for frame, _ in batch), self._step([x for _, x in batch]))

    def prepare(self, frame: Frame) -> dict:
        """What the test pipeline makes of a frame: `inputs`, (C, H, W), and `data_samples`."""
        size = frame.image.shape[:2]
        return self._transform(
            dict(
                img=frame.image,
                img_path=str(frame.path),
                img_id=0,
                img_shape=size,
                ori_shape=size,
            )
        )

    @torch.no_grad()
    def _step(self, batch: list[dict]) -> list[BaseDataElement]:
        try:
            samples = self.model.test_step(pseudo_collate(batch))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f'the GPU has too little memory for {len(batch)} pictures at once: use a smaller '
                '--batch-size, or --device cpu'
            ) from error
        for sample in samples:
            sample.pop('seg_logits', None)  # a score for every class and pixel
        return [sample.cpu() for sample in samples]


def _split_pipeline(cfg: Config) -> tuple[Compose, Compose]:
    """The transform that reads the picture, and those after it; annotations are not read."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = next(leaf_datasets(cfg.get('test_dataloader')), {})
    steps = [t for t in dataset.get('pipeline', ()) if 'Annotations' not in t['type']]
    if not steps or 'LoadImage' not in steps[0]['type']:
        raise UserError(
            'the config has no test_dataloader whose pipeline begins with LoadImageFromFile'
        )
    return Compose(steps[:1]), Compose(steps[1:])


def _fit_classes(model: ConfigDict, meta: dict, cfg: Config, checkpoint: str) -> dict:
    """Make the heads' sizes those of the class names, which are the checkpoint's if it has some."""
    here = classes.of_dataset(cfg)
    if not meta or tuple(meta['classes']) == tuple(here.get('classes', ())):
        meta = {**here, **meta}  # old checkpoints have names, and no colours
    else:
        for change in resize_heads(model, len(meta['classes'])):
            print_log(f'{checkpoint}: {change}', logger='current')
    sizes = set(num_classes_by_head(model).values())
    names = len(meta.get('classes', ()))
    if sizes - {names}:
        raise UserError(
            f'{checkpoint} does not name its classes, the config names {names} for its test set, '
            f'and its heads have num_classes={", ".join(map(str, sorted(sizes)))}: set metainfo of '
            'test_dataloader.dataset to the classes the model was trained on'
        )
    return meta
