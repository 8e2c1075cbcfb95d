"""Evaluate a checkpoint of a detector or segmentor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from convnext_mm.datasets.files import check_data
from convnext_mm.engine.setup import (
    build_runner,
    distribute_without_gpu,
    fetch_weights,
    read_config,
)
from convnext_mm.engine.terminal import Terminal
from convnext_mm.errors import UserError
from convnext_mm.evaluation.tta.config import augment_test
from convnext_mm.messages.log import log_once


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
        out: A ``.pkl`` file to write the predictions to.
        show_dir: A folder to write pictures of the predictions to.
        tta: Test-time augmentation.
        report: Write ``report.html`` into the work dir.
        verbose: Print the whole log, as MMEngine does.

    Returns:
        The metrics by name.

    Raises:
        UserError: A setting, the data or the checkpoint is wrong. The message says what to do.
    """
    if out and Path(out).suffix not in ('.pkl', '.pickle'):
        raise UserError(f'--out {out}: the file must end in .pkl or .pickle')
    with Terminal(verbose) as terminal:
        cfg = read_config(config, options, work_dir, launcher)
        trained_from = cfg.get('load_from')
        cfg.load_from = str(checkpoint)
        if show_dir:
            cfg = draw_into(cfg, show_dir)
        if tta:
            cfg = copy.deepcopy(cfg)
            augment_test(cfg)
        check_data(cfg, ('test_dataloader',))
        if report and not out:
            out = Path(cfg.work_dir) / 'predictions.pkl'
        if out:
            cfg = dump_predictions(cfg, out)
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
    if _is_segmentation(cfg):
        cfg.visualizer.save_dir = path
        hook.interval = 1
    else:
        hook.test_out_dir = path
    return cfg


def dump_predictions(cfg: Config, path: str | Path) -> Config:
    """Write the predictions into a file."""
    cfg = copy.deepcopy(cfg)
    evaluators = cfg.test_evaluator
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    # The one of MMDetection encodes masks as RLE. Ours leaves out the scores of all classes.
    label_maps = 'convnext_mm.evaluation.report.predictions.DumpLabelMaps'
    dump = label_maps if _is_segmentation(cfg) else 'mmdet.DumpDetResults'
    cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=str(path))]
    return cfg


def _is_segmentation(cfg: Config) -> bool:
    return cfg.get('default_scope') == 'mmseg'


def _write_report(cfg: Config, predictions: str | Path, checkpoint: str | Path) -> None:
    # Not at the top: the report draws, and a test needs no plotting library.
    from convnext_mm.evaluation.report.page import write_report

    path = write_report(cfg, predictions, work_dir=cfg.work_dir, weights=Path(checkpoint).name)
    log_once(f'written: {path}')
