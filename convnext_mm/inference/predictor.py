"""Run a trained detector or segmentor on images that belong to no data set."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, islice
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from convnext_mm.config import classes
from convnext_mm.config.heads import check_heads, resize_heads
from convnext_mm.config.model_file import load_model
from convnext_mm.config.nodes import leaf_datasets, refuse_classifier, type_name
from convnext_mm.config.reading import find_work_dir, load_checked_config
from convnext_mm.config.work_dir import best_checkpoint, find_config
from convnext_mm.errors import UserError
from convnext_mm.evaluation.score_threshold import ScoreThreshold, find_score_threshold
from convnext_mm.inference.predictions import Detections, Segmentation
from convnext_mm.inference.sources import Frame, is_video, reason_unread
from convnext_mm.messages.commands import command
from convnext_mm.messages.log import log_once
from convnext_mm.visualization.palette import palette
from convnext_mm.weights.files import local_file, read_checkpoint

_GREY, _RGB = (2,), (3, 3)  # dimensions of an array, and its channels
Image = str | Path | np.ndarray | PIL.Image.Image


def load(
    trained: str | Path | Config,
    checkpoint: str | Path | None = None,
    *,
    device: str | None = None,
    options: Mapping[str, object] | None = None,
) -> Predictor:
    """Load a trained model, to predict on images in Python.

    Args:
        trained: The work dir of a training, or a detection or segmentation config.
        checkpoint: A trained model: a path, a URL or the name of published weights. By default the
            best checkpoint in the work dir, if the config saves one, else the newest one.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        options: Config settings to override, by dotted name.

    Raises:
        UserError: There is no config or no checkpoint, or they do not fit. The message says why.
    """
    work_dir = None
    if not isinstance(trained, Config) and Path(trained).is_dir():
        work_dir = Path(trained)  # It may have been moved since the config was written.
        trained = find_config(work_dir)
    cfg = load_checked_config(trained, options, ('model', 'test_dataloader'))
    if checkpoint is None:
        checkpoint = best_checkpoint(work_dir or find_work_dir(cfg))
        log_once(f'loading {checkpoint}, with the config {cfg.filename}')
    return Predictor(cfg, checkpoint, device)


class Predictor:
    """A model with trained weights, and the test pipeline of its config.

    The first step of the test pipeline reads the files, so the model sees the same images as in
    ``tools/test.py``. With OpenCV, MMCV's default, the EXIF orientation is applied, grey images get
    three equal channels, an alpha channel is dropped, and 16-bit images keep their upper 8 bits.

    If the checkpoint names its classes, the heads are built for these classes. Otherwise the
    classes come from the config's test set.

    Args:
        cfg: A detection or segmentation config. It is not changed.
        checkpoint: A trained model: a path, a URL or the name of published weights.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.

    Attributes:
        meta: ``classes`` and optionally ``palette``, as in a data set's ``metainfo``.
        model: The model in evaluation mode.
        is_segmentor: Whether the model predicts label maps instead of objects.
        threshold: The score with the best F1 in the report of this checkpoint, which is looked for
            beside the checkpoint and in the config's work dir, or 0.3; and where it comes from.

    Raises:
        UserError: The checkpoint does not exist or does not fit the config, there is no GPU, or the
            config has no test pipeline that reads an image.
    """

    def __init__(self, cfg: Config, checkpoint: str | Path, device: str | None = None) -> None:
        refuse_classifier(cfg, 'prediction')
        device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
        if device.startswith('cuda') and not torch.cuda.is_available():
            raise UserError(f'device {device}: PyTorch sees no GPU; {command("doctor")} says why')
        self.device = torch.device(device)
        self._checkpoint = checkpoint
        self._work_dirs = [find_work_dir(cfg)] if cfg.filename or cfg.get('work_dir') else []
        self._load, self._transform = _split_pipeline(cfg)
        model_cfg = copy.deepcopy(cfg.model)
        content = read_checkpoint(checkpoint)
        named = classes.checkpoint_metainfo(content)
        self.meta = _resolve_classes(model_cfg, named, cfg, str(checkpoint))
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        model = MODELS.build(model_cfg)
        if not named:
            _check_names(model, self.meta, str(checkpoint))
        load_model(model, content, str(checkpoint))
        self.is_segmentor = hasattr(model, 'decode_head')
        self.model = revert_sync_batchnorm(model).to(self.device).eval()

    def __call__(
        self,
        images: Image | Sequence[Image],
        *,
        score_thr: float | None = None,
        batch_size: int = 4,
    ) -> Detections | Segmentation | list[Detections] | list[Segmentation]:
        """Predict on one image, or on a list of images.

        Args:
            images: The path of an image file; an array, (H, W, 3) uint8 **RGB** or (H, W) uint8
                grey; an image of PIL, whose EXIF orientation is applied; or a list of these.
            score_thr: Objects below this score are left out, from 0 to 1. By default
                :attr:`threshold`.
            batch_size: The largest number of images of one size that are predicted at once. It
                does not change predictions.

        Returns:
            :class:`Detections` or :class:`Segmentation`; for a list of images a list of them.

        Raises:
            UserError: An image cannot be used. The message says why.
        """
        if not isinstance(images, (list, tuple)):
            return self([images], score_thr=score_thr)[0]
        if batch_size < 1:
            raise UserError(f'batch_size={batch_size}: it must be at least 1')
        score_thr = self.threshold.value if score_thr is None else score_thr
        if not 0 <= score_thr <= 1:
            raise UserError(f'score_thr={score_thr}: it must be from 0 to 1')
        frames = (self._frame(image, index) for index, image in enumerate(images))
        return [
            self._result(frame, sample, score_thr)
            for frame, sample in self.predict(frames, batch_size, pixel_scores=True)
        ]

    @cached_property
    def threshold(self) -> ScoreThreshold:
        file, folders = local_file(self._checkpoint), self._work_dirs
        return find_score_threshold(file, (file.parent, *folders))

    def read(self, path: Path) -> Frame:
        """Read an image file.

        Raises:
            Exception: The config's loader cannot read the file. Its type depends on the loader.
        """
        return Frame(path, self._load(dict(img_path=str(path), img_id=0))['img'])

    def predict(
        self, frames: Iterable[Frame], batch_size: int = 1, *, pixel_scores: bool = False
    ) -> Iterator[tuple[Frame, BaseDataElement]]:
        """Yield each frame with its prediction on the CPU, in the order of the frames.

        A batch holds consecutive frames of one input shape. Frames of different shapes would be
        padded to the largest one, and predictions would then depend on the batch size.

        Args:
            frames: Images or video frames.
            batch_size: The largest number of frames in a batch.
            pixel_scores: Whether a segmentor adds the ``scores`` of its ``pred_sem_seg``.

        Raises:
            UserError: The GPU has too little memory for a batch.
        """
        inputs = ((frame, self.prepare(frame)) for frame in frames)
        for _, same_shape in groupby(inputs, key=lambda pair: pair[1]['inputs'].shape):
            while batch := list(islice(same_shape, batch_size)):
                samples = self._step([x for _, x in batch], pixel_scores)
                yield from zip((frame for frame, _ in batch), samples)

    def prepare(self, frame: Frame) -> dict:
        """Apply the test pipeline to a frame.

        Returns:
            `inputs`, (C, H, W), and `data_samples`.
        """
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

    def _frame(self, image: Image, index: int) -> Frame:
        if isinstance(image, PIL.Image.Image):
            image = np.asarray(PIL.ImageOps.exif_transpose(image).convert('RGB'))
        if isinstance(image, np.ndarray):
            kind = (image.ndim, *image.shape[2:])
            if image.dtype != np.uint8 or not image.size or kind not in (_GREY, _RGB):
                raise UserError(
                    f'image {index}: an array must be (H, W, 3) uint8 RGB, with values from 0 to '
                    f'255, or (H, W) uint8 grey; this one is {image.shape} {image.dtype}'
                )
            if getattr(self._load.transforms[0], 'color_type', '') == 'grayscale':
                image = image if kind == _GREY else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            else:
                image = cv2.cvtColor(
                    image, cv2.COLOR_RGB2BGR if kind == _RGB else cv2.COLOR_GRAY2BGR
                )
            return Frame(Path(f'image_{index}'), image)
        path = Path(image).expanduser()
        if is_video(path) or path.is_dir():
            kind = 'a folder' if path.is_dir() else 'a video'
            raise UserError(
                f'{image} is {kind}: give image files, or write files with convnext_mm.predict'
            )
        try:
            return self.read(path)
        except Exception as error:  # decoders raise errors of any type
            raise UserError(f'{image}: {reason_unread(path, error)}') from error

    def _result(
        self, frame: Frame, sample: BaseDataElement, score_thr: float
    ) -> Detections | Segmentation:
        common = frame.rgb(), tuple(self.meta['classes'])
        if self.is_segmentor:
            found = sample.pred_sem_seg
            return Segmentation(
                *common,
                found.data[0].long().numpy(),
                found.scores[0].numpy(),
                palette(self.meta),
            )
        found = sample.pred_instances
        found = found[found.scores >= score_thr]
        found = found[found.scores.argsort(descending=True, stable=True)]
        masks = found.masks.numpy() if 'masks' in found else None
        boxes, scores, labels = (found[key].numpy() for key in ('bboxes', 'scores', 'labels'))
        return Detections(*common, boxes, scores, labels, masks)

    @torch.no_grad()
    def _step(self, batch: list[dict], pixel_scores: bool) -> list[BaseDataElement]:
        try:
            samples = self.model.test_step(pseudo_collate(batch))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f'the GPU has too little memory for a batch of {len(batch)}: use a smaller batch '
                'size, or predict on the CPU (--device cpu)'
            ) from error
        for sample in samples:
            if 'seg_logits' in sample:
                if pixel_scores:
                    sample.pred_sem_seg.scores = _confidence(sample.seg_logits.data)
                del sample.seg_logits  # large: a score for each class and pixel
        return [sample.cpu() for sample in samples]


def _confidence(logits: Tensor) -> Tensor:
    """Return the probability, (1, H, W), of the predicted class from (C, H, W) logits."""
    if len(logits) == 1:  # MMSegmentation has applied the sigmoid already
        return logits.maximum(1 - logits)
    return (logits.amax(0, keepdim=True) - logits.logsumexp(0, keepdim=True)).exp()


def _split_pipeline(cfg: Config) -> tuple[Compose, Compose]:
    """Split the test pipeline into the step that reads an image, and the others.

    Steps that read annotations are left out.
    """
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = next(leaf_datasets(cfg.get('test_dataloader')), {})
    steps = [t for t in dataset.get('pipeline', ()) if 'Annotations' not in type_name(t)]
    if not steps or 'LoadImage' not in type_name(steps[0]):
        raise UserError(
            'the config needs a test_dataloader with a pipeline that starts with LoadImageFromFile'
        )
    return Compose(steps[:1]), Compose(steps[1:])


def _resolve_classes(model: ConfigDict, meta: dict, cfg: Config, checkpoint: str) -> dict:
    """Return the classes of the checkpoint, else of the test set; resize the heads for them."""
    dataset = classes.dataset_metainfo(cfg)
    if not meta or tuple(meta['classes']) == tuple(dataset.get('classes', ())):
        meta = {**dataset, **meta}  # old checkpoints have class names without colours
    else:
        for change in resize_heads(model, len(meta['classes'])):
            print_log(f'{checkpoint}: {change}', logger='current')
    return meta


def _check_names(model: nn.Module, meta: dict, checkpoint: str) -> None:
    """Make sure that the classes of the config fit a checkpoint that does not name its own."""
    names = meta.get('classes', ())
    for wrong in check_heads(model, {'classes': names, **meta}):
        raise UserError(
            f'{checkpoint} does not name its classes. The test set of the config names '
            f'{len(names)}, but the heads have other numbers: {wrong.what}. Set metainfo of '
            'test_dataloader.dataset to the classes that the model was trained on'
        )
