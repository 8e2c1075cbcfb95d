"""Evaluate a checkpoint of a detector, segmentor or classifier."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from convnext_mm.config.disk import check_folder
from convnext_mm.config.nodes import (
    coco_evaluator,
    evaluators,
    is_classification,
    is_segmentation,
    refuse_classifier,
    type_name,
)
from convnext_mm.datasets.files import check_data
from convnext_mm.engine.setup import (
    build_runner,
    distribute_without_gpu,
    fetch_weights,
    read_config,
)
from convnext_mm.engine.terminal import Terminal
from convnext_mm.errors import UserError
from convnext_mm.evaluation.results import pickled
from convnext_mm.evaluation.tta.config import augment_test
from convnext_mm.messages.findings import raise_errors
from convnext_mm.messages.log import log_once
from convnext_mm.weights.files import local_file
from convnext_mm.weights.zoo import ZOO

_NEEDED = ('model', 'test_dataloader', 'test_cfg', 'test_evaluator')
_WRITERS = 'convnext_mm.evaluation.results.metrics'


def test(
    config: str | Path | Config,
    checkpoint: str | Path,
    *,
    work_dir: str | Path | None = None,
    options: Mapping[str, object] | None = None,
    launcher: str = 'none',
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    tta: bool = False,
    report: bool = False,
    verbose: bool = False,
) -> dict[str, float]:
    """Evaluate a checkpoint on the test data of the config.

    Args:
        config: A config file, or a config, which is not changed.
        checkpoint: A path, URL, ``hf://`` or ``timm://`` id, or a short name of published weights.
        work_dir: The folder for logs and results; by default the ``work_dir`` of the config, or
            ``work_dirs/<config name>``.
        options: Settings of the config to override, by dotted name.
        launcher: How the processes were started: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        out: Where to write the predictions. For a detector a ``.json`` file, in the format of
            COCO's results; for a segmentor a folder or a ``.zip`` file with label maps; for all
            models a ``.pkl`` file as OpenMMLab's own tools write it.
        show_dir: A folder to write pictures of the predictions to.
        tta: Test-time augmentation.
        report: Write ``report.html`` into the work dir.
        verbose: Print the whole log, as MMEngine does.

    Returns:
        The metrics by name.

    Raises:
        UserError: A setting, the data or the checkpoint is wrong. The message says what to do.
    """
    with Terminal(verbose) as terminal:
        cfg = read_config(config, options, work_dir, launcher, needed=_NEEDED)
        trained_from = cfg.get('load_from')
        cfg.load_from = str(checkpoint)
        if is_classification(cfg):
            if report:
                refuse_classifier(cfg, '--report')
            cfg = test_as_published(cfg, str(checkpoint))
        if show_dir:
            cfg = draw_into(cfg, show_dir)
        if tta:
            cfg = copy.deepcopy(cfg)
            augment_test(cfg)
        if report and not out:
            name = 'predictions.zip' if is_segmentation(cfg) else 'predictions.json'
            out = Path(cfg.work_dir) / name
        if out:
            cfg = dump_predictions(cfg, out)
        check_data(cfg, ('test_dataloader',))
        cfg = distribute_without_gpu(cfg)
        cfg, content = fetch_weights(cfg, testing=True)
        metrics = build_runner(cfg, terminal, content, testing=True).test()
        for path in filter(None, (out, show_dir)):
            log_once(f'written: {path}')
        if report and is_main_process():
            cfg.load_from = trained_from  # which the report states
            _write_report(cfg, out, checkpoint)
        return metrics


test.__test__ = False  # Not a test for pytest, whose modules may import it.


def test_as_published(cfg: Config, checkpoint: str) -> Config:
    """Test a published classifier on images of its size, beside its published accuracy.

    As in the authors' code, images for 384 pixels or more are resized to a square and not cropped.

    Args:
        cfg: A classification config.
        checkpoint: A short name of published weights; nothing changes for other names.
    """
    weights = ZOO.get(checkpoint)
    if weights is None:
        return cfg
    cfg = copy.deepcopy(cfg)
    cfg.published = dict(top1=weights.top1)
    pipeline = cfg.test_dataloader.dataset.pipeline
    steps = {type_name(step): step for step in pipeline}
    side = weights.image_size
    if {'ResizeEdge', 'CenterCrop'} <= set(steps) and steps['CenterCrop'].crop_size != side:
        steps['ResizeEdge'].update(type='Resize', scale=(side, side))
        del steps['ResizeEdge']['edge']
        pipeline.remove(steps['CenterCrop'])
        log_once(f'the images are resized to {side}x{side}, for which {checkpoint} was trained')
    return cfg


test_as_published.__test__ = False


def draw_into(cfg: Config, folder: str | Path) -> Config:
    """Write pictures of the predictions into a folder.

    Raises:
        UserError: The config has no hook that draws.
    """
    cfg = copy.deepcopy(cfg)
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError('--show-dir: the config has no default_hooks.visualization to draw with')
    hook.draw = True
    # Absolute: MMDetection's hook joins the work dir to a relative path, once for each image.
    path = str(Path(folder).resolve())
    if is_classification(cfg):
        hook.pop('draw')
        hook.update(enable=True, interval=1, out_dir=path)
    elif is_segmentation(cfg):
        cfg.visualizer.save_dir = path
        hook.interval = 1
    else:
        hook.test_out_dir = path
    return cfg


def dump_predictions(cfg: Config, path: str | Path) -> Config:
    """Write the predictions into a file or a folder.

    Raises:
        UserError: The model has no results of this kind, or nothing can be written there.
    """
    cfg, path = copy.deepcopy(cfg), Path(path)
    cfg.test_evaluator = [*evaluators(cfg, 'test'), _writer(cfg, path)]
    folder = path.parent if path.suffix and not path.is_dir() else path
    raise_errors(check_folder(folder))
    folder.mkdir(parents=True, exist_ok=True)
    return cfg


def _writer(cfg: Config, path: Path) -> dict:
    """Return the evaluator that writes the results in the format of the suffix."""
    segments, is_folder = is_segmentation(cfg), path.is_dir() or not path.suffix
    if path.suffix in pickled.SUFFIXES and not is_folder:
        # MMDetection's evaluator encodes masks as RLE. Our own leaves out the class scores.
        kind = f'{_WRITERS}.DumpLabelMaps' if segments else 'mmdet.DumpDetResults'
        kind = 'mmengine.DumpResults' if is_classification(cfg) else kind
        return dict(type=kind, out_file_path=str(path))
    if is_classification(cfg):
        raise UserError(f'--out {path}: the results of a classifier must end in .pkl')
    if segments and (is_folder or path.suffix == '.zip'):
        return dict(type=f'{_WRITERS}.WriteLabelMaps', path=str(path))
    if not segments and path.suffix == '.json' and not is_folder:
        evaluator = coco_evaluator(cfg, 'test', 'a COCO results JSON')
        return dict(
            type=f'{_WRITERS}.WriteCocoResults',
            path=str(path),
            ann_file=evaluator.ann_file,
            sort_categories=evaluator.get('sort_categories', False),
        )
    kinds = 'be a folder, or end in .zip' if segments else 'end in .json'
    raise UserError(f'--out {path}: the results of this model must {kinds} or .pkl')


def _write_report(cfg: Config, predictions: str | Path, checkpoint: str | Path) -> None:
    # Not at the top: the report draws, and a test needs no plotting library.
    from convnext_mm.evaluation.report.page import write_report

    path = write_report(
        cfg,
        predictions,
        work_dir=cfg.work_dir,
        weights=Path(checkpoint).name,
        checkpoints=[local_file(checkpoint)],
    )
    log_once(f'written: {path}')
