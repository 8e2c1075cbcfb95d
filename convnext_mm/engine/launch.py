"""From a command line to a running MMEngine Runner: what ``tools/train.py`` and ``test.py`` share.

Detection and segmentation configs alike; which of the two it is, is the config's
``default_scope``. The options are MMDetection's.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from convnext_mm.config.batch_size import accumulate, scale_lr, warn_of_other_batch_size
from convnext_mm.config.model_file import check_model_file
from convnext_mm.config.nodes import dicts_below
from convnext_mm.config.reading import load_config, work_dir_of
from convnext_mm.config.schedule_checks import warn_of_cut_off_schedule
from convnext_mm.datasets.files import check_data
from convnext_mm.datasets.own.adapt import adopt
from convnext_mm.engine.hooks.classes import ClassesHook
from convnext_mm.engine.hooks.empty_results import EmptyResultsHook
from convnext_mm.engine.hooks.schedule import FlattenedDecayHook
from convnext_mm.engine.runner import CheckedRunner
from convnext_mm.errors import UserError
from convnext_mm.evaluation.tta.config import augment_test
from convnext_mm.messages.log import log_once
from convnext_mm.messages.wording import such_as
from convnext_mm.weights.files import local_file, read_checkpoint


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options that training and testing share, as in MMDetection's tools."""
    parser.add_argument(
        '--work-dir',
        help="where logs and results go (the config's work_dir, else work_dirs/<config name>)",
    )
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes --local-rank, older versions --local_rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options`` of every tool that reads a config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings of the config to override; a list is key="[a,b]" or key=a,b',
    )


def train(args: argparse.Namespace) -> Runner:
    """Train as ``tools/train.py`` is told, and evaluate on the way as the config says."""
    cfg = _read_config(args)
    if args.data:
        adopt(cfg, args.data, args.cfg_options)
    warn_of_cut_off_schedule(cfg)  # before --accumulate, which changes what would be advised
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.accumulate:
        accumulate(cfg)
    elif args.auto_scale_lr:
        scale_lr(cfg)
    else:
        warn_of_other_batch_size(cfg)
    if args.resume:
        _resume(cfg, args.resume)
    check_data(cfg, ('train_dataloader', 'val_dataloader'))
    _fit_optimizer_to_machine(cfg)
    runner = _build(cfg)
    if args.report:
        _report_at_end(runner, Path(args.config).name)
    runner.train()
    return runner


def test(args: argparse.Namespace) -> dict[str, float]:
    """Evaluate a checkpoint as ``tools/test.py`` is told, and return the metrics."""
    cfg = _read_config(args)
    trained_from, cfg.load_from = cfg.get('load_from'), args.checkpoint
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out}: the file must end in .pkl or .pickle')
    if args.show_dir:
        _draw_into(cfg, args.show_dir)
    if args.tta:
        augment_test(cfg)
    check_data(cfg, ('test_dataloader',))
    out = args.out or (args.report and str(Path(cfg.work_dir) / 'predictions.pkl'))
    if out:
        _dump_predictions(cfg, out)
    metrics = _build(cfg, testing=True).test()
    if args.report and is_main_process():
        cfg.load_from = trained_from  # which the report states
        _report(cfg, out, args)
    return metrics


def exit_code(job: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> int:
    """Run a job; a mistake of the user's becomes one clear message and exit code 2."""
    try:
        job(args)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def _read_config(args: argparse.Namespace) -> Config:
    # MMEngine reads it and does not set it for MPI.
    local_rank = os.environ.get('OMPI_COMM_WORLD_LOCAL_RANK', str(args.local_rank))
    os.environ.setdefault('LOCAL_RANK', local_rank)
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = str(work_dir_of(cfg, args.config, args.work_dir))
    path = Path(args.config).resolve()
    if path.parent == Path(cfg.work_dir).resolve():
        # MMEngine writes the run's settings into the work dir under the config's name, and must
        # not do so over a config that lies there.
        name = path.with_stem(f'{path.stem}_as_run')
        cfg = Config(cfg.to_dict(), cfg_text=cfg.text, filename=str(name))
    return cfg


def _resume(cfg: Config, checkpoint: str) -> None:
    if checkpoint != 'auto':
        cfg.resume, cfg.load_from = True, checkpoint
    elif (Path(cfg.work_dir) / 'last_checkpoint').is_file():
        cfg.resume, cfg.load_from = True, None
    else:  # MMEngine would begin without the weights of `load_from` too
        log_once(f'--resume: no checkpoint in {cfg.work_dir}: training starts from the beginning')


def _build(cfg: Config, testing: bool = False) -> Runner:
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        _distribute_without_gpu(cfg)
    content = None
    if not testing:  # Before data sets are read, which takes time.
        for node in dicts_below(cfg.model):
            if node.get('type') == 'ConvNeXtPretrained':
                local_file(node.checkpoint)
    if cfg.get('load_from'):
        source, cfg.load_from = cfg.load_from, str(local_file(cfg.load_from))
        if not cfg.get('resume'):  # A checkpoint of the same config fits.
            content = read_checkpoint(source)
            other = check_model_file(content, cfg, source, complete=testing).other_shape
            if other:
                log_once(
                    f'{such_as(other)} of another shape in {source}: they start from random '
                    'values, which is normal if the data set has other classes',
                    logging.WARNING,
                )
    runner = CheckedRunner.from_cfg(cfg)
    if content is not None:
        runner.hold(content)
    runner.register_hook(ClassesHook())
    runner.register_hook(EmptyResultsHook())
    runner.register_hook(FlattenedDecayHook())
    return runner


def _fit_optimizer_to_machine(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    if wrapper.get('type') == 'AmpOptimWrapper' and not torch.cuda.is_available():
        log_once('no GPU: training in fp32 instead of mixed precision')
        wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype'):
            wrapper.pop(key, None)


def _distribute_without_gpu(cfg: Config) -> None:
    """Start processes on CPUs; MMEngine's own start-up and DDP settings take a GPU for granted."""
    if cfg.launcher != 'pytorch':
        raise UserError(f'--launcher {cfg.launcher}: without a GPU only pytorch works')
    log_once('no GPU: distributed by gloo, with BN in each process for SyncBN')
    torch.distributed.init_process_group('gloo')  # the Runner keeps what it finds
    for norm in dicts_below(cfg.model):
        if norm.get('type') == 'SyncBN':
            norm.type = 'BN'
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def _is_segmentation(cfg: Config) -> bool:
    return cfg.get('default_scope') == 'mmseg'


def _draw_into(cfg: Config, folder: str) -> None:
    hook = cfg.default_hooks.get('visualization')
    if hook is None:
        raise UserError('--show-dir: the config has no default_hooks.visualization to draw with')
    hook.draw = True
    folder = str(Path(folder).resolve())
    if _is_segmentation(cfg):
        cfg.visualizer.save_dir = folder
        hook.interval = 1
    else:
        # An absolute path: the hook joins the work dir to a relative one, once for each image.
        hook.test_out_dir = folder


def _dump_predictions(cfg: Config, path: str) -> None:
    evaluators = cfg.test_evaluator
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    # MMDetection's encodes masks as RLE, ours leaves the scores of all classes out.
    slim = 'convnext_mm.evaluation.report.results.DumpLabelMaps'
    dump = slim if _is_segmentation(cfg) else 'mmdet.DumpDetResults'
    cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=path)]


def _report_at_end(runner: Runner, name: str) -> None:
    try:  # here and not above: it needs both libraries, and a training one of them
        from convnext_mm.engine.hooks.report import ReportHook
    except (ImportError, AssertionError) as error:  # asserted: versions that go together
        log_once(f'no report when training ends: {error}', logging.WARNING)
    else:
        runner.register_hook(ReportHook(name))


def _report(cfg: Config, results: str, args: argparse.Namespace) -> None:
    # Here and not above: it draws, and training needs none of that.
    from convnext_mm.evaluation.report.page import NAME, write_report
    from convnext_mm.evaluation.report.results import read_results

    path = Path(cfg.work_dir) / NAME
    names = Path(args.checkpoint).name, Path(args.config).name
    write_report(cfg, read_results(results), path, *names)
    log_once(f'written: {path}')
