"""Predict on files and write the results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from convnext_mm.config.reading import find_work_dir, load_checked_config
from convnext_mm.errors import UserError
from convnext_mm.evaluation.score_threshold import ScoreThreshold
from convnext_mm.inference.predictor import Predictor
from convnext_mm.inference.result_files import CocoWriter, LabelMapWriter, ResultWriter
from convnext_mm.inference.sources import (
    Frame,
    count_frames,
    find_files,
    is_video,
    read_video,
    reason_unread,
)
from convnext_mm.messages.wording import counted


@dataclass(frozen=True)
class PredictionSummary:
    """What :func:`predict` wrote.

    Attributes:
        folder: The folder with ``results.json``, ``pictures/`` and ``label_maps/``.
        images: The number of images and video frames.
        objects: The number of objects in ``results.json``; None for a segmentor.
        threshold: The score from which objects are kept, and where it comes from.
        unread: The files that could not be read, each with the reason.
    """

    folder: Path
    images: int
    objects: int | None
    threshold: ScoreThreshold
    unread: dict[Path, str]


def predict(
    config: str | Path,
    checkpoint: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    score_thr: float | None = None,
    batch_size: int = 1,
    device: str | None = None,
    pictures: bool = True,
    options: dict | None = None,
) -> PredictionSummary:
    """Predict on images and videos, and write the results to a folder.

    The folder gets ``results.json`` and, with `pictures`, the predictions drawn on each image. For
    a detector, ``results.json`` is a COCO file with scores. A segmentor also writes
    ``label_maps/``: PNG files with the class index of each pixel. A file that cannot be read is
    skipped and listed in the summary.

    Args:
        config: A detection or segmentation config file.
        checkpoint: A trained model: a path, a URL or the name of published weights.
        images: Image files, videos, folders of them or globs.
        out: The folder to write; by default ``predictions`` in the config's work dir.
        score_thr: Objects below this score are left out, from 0 to 1. By default the threshold
            with the best F1 in the report of this checkpoint, or 0.3 if there is none.
        batch_size: The number of images of one size that are predicted at once. It does not change
            predictions.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        pictures: Whether to write drawings.
        options: Config settings to override, by dotted key.

    Raises:
        UserError: Nothing could be predicted. The message says why.
    """
    if batch_size < 1:
        raise UserError(f'batch size {batch_size}: it must be at least 1')
    if score_thr is not None and not 0 <= score_thr <= 1:
        raise UserError(f'score threshold {score_thr}: it must be from 0 to 1')
    paths = find_files(images)
    cfg = load_checked_config(config, options, ('model', 'test_dataloader'))
    predictor = Predictor(cfg, checkpoint, device)
    threshold = predictor.threshold if score_thr is None else ScoreThreshold(score_thr, '')
    folder = Path(out or find_work_dir(cfg) / 'predictions')
    unread: dict[Path, str] = {}
    done = 0
    try:
        with (
            _writer(predictor, folder, pictures, threshold.value) as writer,
            tqdm(total=sum(map(count_frames, paths)), unit='image', dynamic_ncols=True) as bar,
        ):
            frames = _read(predictor, paths, unread, bar)
            for frame, sample in predictor.predict(frames, batch_size):
                writer.add(frame, sample)
                done += 1
                bar.update()
    except OSError as error:  # of writing: `_read` collects the errors of reading
        raise UserError(
            f'{folder}: {error}; {counted(done, "image")} had been written before'
        ) from error
    objects = len(writer.annotations) if isinstance(writer, CocoWriter) else None
    return PredictionSummary(folder, len(writer.images), objects, threshold, unread)


def _writer(predictor: Predictor, folder: Path, pictures: bool, score_thr: float) -> ResultWriter:
    if predictor.is_segmentor:
        return LabelMapWriter(folder, predictor.meta, pictures)
    return CocoWriter(folder, predictor.meta, pictures, score_thr)


def _read(
    predictor: Predictor, paths: Sequence[Path], unread: dict[Path, str], bar: tqdm
) -> Iterator[Frame]:
    """Yield the frames of all files; put a file that cannot be read into `unread`."""
    for path in paths:
        try:
            if is_video(path):
                yield from read_video(path)
            else:
                yield predictor.read(path)
        except Exception as error:  # decoders raise errors of any type
            unread[path] = reason_unread(path, error)
            bar.update()
