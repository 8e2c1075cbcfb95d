"""The places of a config in which dicts are built, and what builds them there.

MMEngine builds a dict with a ``type`` by a registry. The place of the dict says which registry that
is: the steps of a pipeline are built by TRANSFORMS, hooks by HOOKS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    WEIGHT_INITIALIZERS,
    Registry,
)
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

OTHERS = '*'  # the key of the place for all keys that have none of their own


@dataclass(frozen=True)
class Place:
    """A place of a config, and what reads a dict there.

    Attributes:
        registries: They look up the type of the dict.
        module: The name of the module whose attributes the types are, if it is no registry.
        function: It takes the dict as its arguments. The dict has no type.
        keys: All keys that the dict may have; it has no type.
        default: Returns the type of a dict that has none. None: it stays without one.
        typed: Whether the dict must have a type.
        extra: Keys that are no arguments of the class, because the builder reads them.
        given: Arguments that the builder adds to the dict.
        complete: Whether the required arguments must be in the dict or in `given`.
        certain: Whether the type must be known.
        likely: Keys that a dict of free keys has most likely, to recognise a misspelt one.
        children: The places of the dicts below, by key. None: nothing below is checked.
    """

    registries: tuple[Registry, ...] = ()
    module: str = ''
    function: Callable | None = None
    keys: tuple[str, ...] = ()
    default: Callable[[Mapping], str | None] = lambda node: None
    typed: bool = False
    extra: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    complete: bool = False
    certain: bool = True
    likely: tuple[str, ...] = ()
    children: Mapping[str, Place | None] = field(default_factory=dict)


# A dict that no registry builds. The classes around it may read any key.
FREE = Place(children=(_in_free := {}))
_in_free[OTHERS] = FREE
# For dicts that MMEngine builds as they are, without further arguments.
_WHOLE = dict(typed=True, complete=True)

# --- data ------------------------------------------------------------------------------------

_IN_TRANSFORM: dict[str, Place] = {}
_TRANSFORM = Place((TRANSFORMS,), **_WHOLE, children=_IN_TRANSFORM)
# A class may have its pipelines under any name, and other dicts with a type beside them.
_PERHAPS_TRANSFORM = Place((TRANSFORMS,), certain=False)
_IN_TRANSFORM.update({'transforms': _TRANSFORM, 'pipeline': _TRANSFORM, OTHERS: _PERHAPS_TRANSFORM})

_IN_DATASET: dict[str, Place] = dict(
    pipeline=_TRANSFORM, metainfo=Place(likely=('classes', 'palette'))
)
_DATASET = Place((DATASETS,), **_WHOLE, children=_IN_DATASET)
_IN_DATASET.update(dataset=_DATASET, datasets=_DATASET)

_LOADER = Place(
    function=DataLoader,
    extra=('num_batch_per_epoch', 'disable_subprocess_warning'),
    children=dict(
        dataset=_DATASET,
        sampler=Place((DATA_SAMPLERS,), **_WHOLE, given=('dataset', 'seed')),
        batch_sampler=Place((DATA_SAMPLERS,), **_WHOLE, given=('sampler', 'batch_size')),
    ),
)

# --- model -----------------------------------------------------------------------------------

_NMS = Place(module='mmcv.ops', extra=('class_agnostic', 'split_thr', 'max_num'))
_INIT = Place(
    (WEIGHT_INITIALIZERS,),
    extra=('override', 'layer'),
    children=dict(override=Place((WEIGHT_INITIALIZERS,), extra=('name', 'layer'))),
)
_IN_MODEL: dict[str, Place] = dict(
    init_cfg=_INIT,
    norm_cfg=Place((MODELS,), extra=('requires_grad',)),
    nms=_NMS,
    dqs_cfg=_NMS,
    roi_layer=Place(module='mmcv.ops'),
    augments=FREE,  # of MMPretrain; no registry of MMEngine has its batch augmentations
)
# A part of a model gets further arguments from the part around it, so it need not be complete.
_MODEL = Place((MODELS, TASK_UTILS), children=_IN_MODEL)
_IN_MODEL[OTHERS] = _MODEL

# --- the run ---------------------------------------------------------------------------------

# MMEngine has all but the last one, which MMDetection and MMSegmentation have.
DEFAULT_HOOKS = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    'visualization',
)
_HOOK = Place((HOOKS,), **_WHOLE, extra=('priority',), children=dict(switch_pipeline=_TRANSFORM))
_EVALUATOR = Place(
    (METRICS, EVALUATOR),
    **_WHOLE,
    default=lambda node: 'Evaluator' if 'metrics' in node else None,
    children=dict(metrics=Place((METRICS,), **_WHOLE)),
)
_LOOP = Place((LOOPS,), complete=True, given=('runner', 'dataloader', 'evaluator'))

#: The dicts of a config that MMEngine's Runner or a tool builds, by top-level key.
PLACES: Mapping[str, Place] = dict(
    model=_MODEL,
    data_preprocessor=_MODEL,
    model_wrapper_cfg=Place(
        (MODEL_WRAPPERS,), default=lambda node: 'MMDistributedDataParallel', given=('module',)
    ),
    tta_model=_MODEL,
    tta_pipeline=_TRANSFORM,
    train_dataloader=_LOADER,
    val_dataloader=_LOADER,
    test_dataloader=_LOADER,
    train_cfg=replace(
        _LOOP,
        extra=('by_epoch',),
        default=lambda node: f'{"Epoch" if node.get("by_epoch") else "Iter"}BasedTrainLoop',
    ),
    val_cfg=replace(_LOOP, default=lambda node: 'ValLoop'),
    test_cfg=replace(_LOOP, default=lambda node: 'TestLoop'),
    optim_wrapper=Place(
        (OPTIM_WRAPPERS,),
        default=lambda node: 'OptimWrapper' if 'optimizer' in node else None,
        extra=('constructor', 'paramwise_cfg'),
        children=dict(
            optimizer=Place((OPTIMIZERS,), **_WHOLE, given=('params',)),
            paramwise_cfg=None,  # its keys are parameters of the model
        ),
    ),
    param_scheduler=Place(
        (PARAM_SCHEDULERS,), **_WHOLE, extra=('convert_to_iter_based',), given=('optimizer',)
    ),
    val_evaluator=_EVALUATOR,
    test_evaluator=_EVALUATOR,
    default_hooks=Place(likely=DEFAULT_HOOKS, children={OTHERS: _HOOK}),
    custom_hooks=_HOOK,
    visualizer=Place(
        (VISUALIZERS,),
        default=lambda node: 'Visualizer',
        children=dict(vis_backends=Place((VISBACKENDS,), **_WHOLE, given=('save_dir',))),
    ),
    log_processor=Place((LOG_PROCESSORS,), default=lambda node: 'LogProcessor'),
    randomness=Place(function=Runner.set_randomness),
    auto_scale_lr=Place(keys=('enable', 'base_batch_size')),
    env_cfg=Place(
        keys=('cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'),
        children=dict(mp_cfg=Place(function=set_multi_processing)),
    ),
)
