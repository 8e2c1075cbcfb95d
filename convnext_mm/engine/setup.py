"""Steps that training and testing share, from a config to an MMEngine Runner.

A step takes a config and returns a changed copy.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict

from convnext_mm.config.building import naming_the_part
from convnext_mm.config.disk import check_folder
from convnext_mm.config.key_checks import check_variables
from convnext_mm.config.model_file import as_classifier, check_model_file
from convnext_mm.config.nodes import as_list, dicts_below, type_name
from convnext_mm.config.reading import find_work_dir, load_checked_config
from convnext_mm.engine.hooks.classes import ClassesHook
from convnext_mm.engine.hooks.empty_results import EmptyResultsHook
from convnext_mm.engine.hooks.plan import PlanHook, config_name
from convnext_mm.engine.hooks.progress import ProgressBarHook
from convnext_mm.engine.hooks.summary import SummaryHook
from convnext_mm.engine.launchers import check_launcher
from convnext_mm.engine.runner import Runner
from convnext_mm.engine.terminal import Terminal
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Finding, Level, as_text, raise_errors
from convnext_mm.messages.log import log_once
from convnext_mm.messages.wording import listed, such_as
from convnext_mm.weights.files import local_file, read_checkpoint

_OUR_BACKBONE = ('convnext_mm.ConvNeXt', 'ConvNeXt')
_PACKAGE = __name__.partition('.')[0]
# The names under which PyTorch's and MMCV's synchronised batch norm can be in a config.
_SYNC_BN = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')


def read_config(
    config: str | Path | Config,
    options: Mapping[str, object] | None = None,
    work_dir: str | Path | None = None,
    launcher: str = 'none',
    needed: Collection[str] = (),
) -> Config:
    """Read and check the config of a run, and set its work dir and launcher.

    Args:
        config: A config file, or a config, which is copied.
        options: Settings of the config to override, by dotted name.
        work_dir: The folder of the run, if the config does not choose it.
        launcher: How the processes were started.
        needed: The top-level settings that the run cannot do without.

    Raises:
        UserError: The config has a mistake or lacks a setting, its work dir cannot be written, or
            the processes were not started by the launcher.
    """
    cfg = load_checked_config(config, options)
    if missing := [key for key in needed if cfg.get(key) is None]:
        name = cfg.filename or 'the config'
        raise UserError(f'{name}: not the config of a run: it has no {listed(missing)}')
    _check_evaluations(cfg)
    tell(check_variables(options or {}))
    cfg = with_import(cfg)
    cfg.launcher = launcher
    cfg.work_dir = str(find_work_dir(cfg, work_dir))
    if launcher == 'mpi' and 'OMPI_COMM_WORLD_LOCAL_RANK' in os.environ:
        # MMEngine reads LOCAL_RANK, and Open MPI does not set it.
        os.environ.setdefault('LOCAL_RANK', os.environ['OMPI_COMM_WORLD_LOCAL_RANK'])
    tell([*check_launcher(launcher), *check_folder(cfg.work_dir)])
    return cfg


def _check_evaluations(cfg: Config) -> None:
    for kind in ('val', 'test'):
        keys = [f'{kind}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
        missing = [key for key in keys if cfg.get(key) is None]
        if len(missing) in (1, 2):
            given = listed([key for key in keys if key not in missing])
            raise UserError(
                f'{cfg.filename or "the config"}: it has {given}, and no {listed(missing)}: '
                'give all three, or none'
            )


def with_import(cfg: Config) -> Config:
    """Let the copies of the config import this package, for programs that do not import it.

    MMEngine imports the modules when it reads a config. So MMDetection and MMSegmentation can use
    the config of a run, and the checkpoints that hold its text.
    """
    cfg = copy.deepcopy(cfg)
    imports = cfg.get('custom_imports') or ConfigDict(imports=[], allow_failed_imports=False)
    if _PACKAGE not in as_list(imports.imports):
        imports.imports = [*as_list(imports.imports), _PACKAGE]
    cfg.custom_imports = imports
    return cfg


def keep_config_file(cfg: Config) -> Config:
    """Give the copy of the config in the work dir another name, if the config lies there itself.

    MMEngine writes the settings of a run into the work dir under the name of the config. It must
    not overwrite a config there.
    """
    path = Path(cfg.filename or '').resolve()
    if not cfg.filename or path.parent != Path(cfg.work_dir).resolve():
        return cfg
    name = path.with_stem(f'{path.stem}_as_run')
    return Config(cfg.to_dict(), cfg_text=cfg.text, filename=str(name))


def distribute_without_gpu(cfg: Config) -> Config:
    """Connect the processes on CPUs; the start-up and DDP settings of MMEngine need a GPU.

    Raises:
        UserError: The launcher works with GPUs only.
    """
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return cfg
    if cfg.launcher != 'pytorch':
        raise UserError(f'--launcher {cfg.launcher}: without a GPU only pytorch works')
    log_once('no GPU: distributed by gloo, with BN in each process for SyncBN')
    torch.distributed.init_process_group('gloo')  # The Runner keeps an existing group.
    cfg = copy.deepcopy(cfg)
    for norm in dicts_below(cfg.model):
        if type_name(norm) in _SYNC_BN:
            norm.type = 'BN'
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    return cfg


def fetch_weights(cfg: Config, testing: bool = False) -> tuple[Config, Mapping | None]:
    """Download the weights of a run and check that they fit, before any data is read.

    Weights of the backbone that ``load_from`` replaces are left out, and not downloaded.

    Returns:
        The config with the path of the weights, and the content of ``load_from``, for
        :func:`build_runner`. The content is None if there is none, or if a run is resumed: a
        checkpoint of the same run fits.

    Raises:
        WeightsError: The weights are missing or do not fit the model.
    """
    cfg = copy.deepcopy(cfg)
    if not testing:
        if cfg.get('load_from'):
            _leave_out_replaced_weights(cfg)
        for node in dicts_below(cfg.model):
            if type_name(node) == 'ConvNeXtPretrained':
                local_file(node.checkpoint)
    if not cfg.get('load_from'):
        return cfg, None
    source, cfg.load_from = cfg.load_from, str(local_file(cfg.load_from))
    if cfg.get('resume'):
        return cfg, None
    content = as_classifier(read_checkpoint(source), cfg, source)
    with naming_the_part(cfg):
        other = check_model_file(content, cfg, source, complete=testing).other_shape
    if other:
        log_once(
            f'{such_as(other)} of another shape in {source}: they start from random values, which '
            'is normal if the data set has other classes',
            logging.WARNING,
        )
    return cfg, content


def _leave_out_replaced_weights(cfg: Config) -> None:
    """Leave out the pretrained weights of our backbone: ``load_from`` replaces all of them."""
    backbone = cfg.model.get('backbone') or {}
    if backbone.get('type') in _OUR_BACKBONE:
        inits = as_list(backbone.get('init_cfg'))
        backbone.init_cfg = [init for init in inits if not init.get('checkpoint')] or None


def build_runner(
    cfg: Config, terminal: Terminal, content: Mapping | None, testing: bool = False
) -> Runner:
    """Build the Runner with the hooks that every run has.

    Args:
        cfg: The config.
        terminal: The terminal, which decides what a person sees of the log.
        content: The content of ``load_from``, if it was read already.
        testing: Whether the Runner is to test.
    """
    log_once(f'loading {"the" if testing else "data and"} model')
    with naming_the_part(cfg):
        runner = terminal.build_runner(keep_config_file(cfg))
    if content is not None:
        runner.hold(content)
    for hook in (ClassesHook(), EmptyResultsHook(), PlanHook(config_name(cfg))):
        runner.register_hook(hook)
    for kind in (SummaryHook,) if terminal.verbose else (SummaryHook, ProgressBarHook):
        if not any(isinstance(hook, kind) for hook in runner.hooks):  # A config may list it.
            runner.register_hook(kind())
    return runner


def tell(findings: Iterable[Finding]) -> None:
    """Show notes as warnings.

    Raises:
        UserError: There are errors among the findings.
    """
    findings = list(findings)
    raise_errors(findings)
    for finding in findings:
        if finding.level is Level.NOTE:
            log_once(as_text([finding]), logging.WARNING)
