"""Predict what a command line names, and say what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

from convnext_mm.config.reading import find_work_dir, load_config
from convnext_mm.errors import UserError
from convnext_mm.inference import sources
from convnext_mm.inference.predictor import Predictor
from convnext_mm.inference.results import CocoResults, LabelMaps, Results


def predict_files(args: argparse.Namespace) -> list[str]:
    """Predict as ``tools/predict.py`` is told.

    Returns:
        The files that could not be read, each with the reason.

    Raises:
        UserError: Nothing could be predicted; the message says why.
    """
    if args.batch_size < 1:
        raise UserError(f'--batch-size {args.batch_size}: must be at least 1')
    if not 0 <= args.score_thr <= 1:
        raise UserError(f'--score-thr {args.score_thr}: must be from 0 to 1')
    paths = sources.find(args.images)
    cfg = load_config(args.config, args.cfg_options)
    predictor = Predictor(cfg, args.checkpoint, args.device)
    folder = Path(args.out or find_work_dir(cfg) / 'predictions')
    unread: list[str] = []
    done = 0
    try:
        with (
            _results(predictor, folder, args) as results,
            tqdm(total=sum(map(sources.count, paths)), unit='image', dynamic_ncols=True) as bar,
        ):
            frames = _read(predictor, paths, unread, bar)
            for frame, sample in predictor.predict(frames, args.batch_size):
                results.add(frame, sample)
                done += 1
                bar.update()
    except OSError as error:  # of writing: what cannot be read is in the list
        raise UserError(f'--out {folder}: {error}; {done} images were written') from error
    print(f'{_summary(results)} in {folder}')
    for line in unread:
        print(f'not read: {line}', file=sys.stderr)
    return unread


def _results(predictor: Predictor, folder: Path, args: argparse.Namespace) -> Results:
    if predictor.segments:
        return LabelMaps(folder, predictor.meta, args.pictures)
    return CocoResults(folder, predictor.meta, args.pictures, args.score_thr)


def _read(
    predictor: Predictor, paths: Sequence[Path], unread: list[str], bar: tqdm
) -> Iterator[sources.Frame]:
    for path in paths:
        try:
            if sources.is_video(path):
                yield from sources.frames(path)
            else:
                yield predictor.read(path)
        except Exception as error:  # decoders raise whatever they like
            unread.append(f'{path}: {_reason(path, error)}')
            bar.update()


def _reason(path: Path, error: Exception) -> str:
    if path.is_file() and not path.stat().st_size:
        return 'the file is empty'
    if isinstance(error, (AssertionError, cv2.error)):  # how MMCV's loader ends where OpenCV fails
        return 'no picture that can be decoded'
    return getattr(error, 'strerror', None) or str(error).partition('\n')[0]


def _summary(results: Results) -> str:
    images = len(results.images)
    text = f'{images} image{"s" if images != 1 else ""}'
    if isinstance(results, CocoResults):
        objects = len(results.annotations)
        text += f', {objects} object{"s" if objects != 1 else ""} above {results.score_thr:g}'
    return text
