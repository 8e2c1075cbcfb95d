"""Check whether the file of a trained model fits a config or a model, and load it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from mmengine.config import Config
from torch import Tensor, nn

from convnext_mm.backbone import ConvNeXt
from convnext_mm.config.model import build_on_meta
from convnext_mm.config.nodes import type_name
from convnext_mm.errors import WeightsError
from convnext_mm.messages.wording import such_as
from convnext_mm.weights.classifier import to_classifier
from convnext_mm.weights.fitting import Differences, compare, select_tensors
from convnext_mm.weights.formats import to_backbone


def check_model_file(
    content: Mapping, cfg: Config, source: str, complete: bool = False
) -> Differences:
    """Make sure that MMEngine loads the whole ConvNeXt; it only logs tensors that do not fit.

    Args:
        content: The content of a file of a detector or segmentor.
        cfg: A config; its model is built without memory.
        source: Name of the file in messages.
        complete: Whether the other parts of the model must fit too, as for testing.

    Returns:
        The differences outside of the ConvNeXt.

    Raises:
        WeightsError: The file does not fit.
    """
    if 'module' in cfg.model:  # The model is inside test-time augmentation.
        cfg = Config(dict(cfg, model=cfg.model.module))
    return _check(build_on_meta(cfg), _state_dict(content), source, complete)


def as_classifier(content: Mapping, cfg: Config, source: str) -> Mapping:
    """Return the content of a file with the names of the classifier of a config.

    The file of another model, and a checkpoint of such a training, are returned as they are.

    Raises:
        WeightsError: The config is for a ConvNeXt classifier, and the file holds none.
    """
    neck = cfg.model.get('neck') or {}
    if type_name(neck) != 'PooledNorm' or 'neck.norm.weight' in _state_dict(content):
        return content
    return dict(state_dict=to_classifier(content, source))


def load_model(model: nn.Module, content: Mapping, source: str) -> None:
    """Load the file of a trained detector or segmentor, all or nothing.

    Raises:
        WeightsError: A tensor is missing or has another shape.
    """
    state = _state_dict(content)
    _check(model, state, source, complete=True)
    # PyTorch knows better than names: some modules of MMDetection rename the tensors of old files.
    missing = model.load_state_dict(state, strict=False).missing_keys
    _refuse_missing([name for name in missing if not _is_optional(name)], source)


def _check(
    model: nn.Module, state: Mapping[str, Tensor], source: str, complete: bool
) -> Differences:
    own = {name: value for name, value in model.state_dict().items() if not _is_optional(name)}
    backbone = getattr(model, 'backbone', None)
    if isinstance(backbone, ConvNeXt):
        state = _with_our_names(backbone, state, source)
    differences = compare(own, state)
    if complete and isinstance(backbone, ConvNeXt):
        _refuse_missing(differences.missing, source)
    if complete and differences.other_shape:
        first = differences.other_shape[0]
        raise WeightsError(
            f'{source} does not fit: {such_as(differences.other_shape)} of another shape; '
            f'{first} is {tuple(state[first].shape)} in the file, {tuple(own[first].shape)} in the '
            'model. Is the file of another config, or for another number of classes?'
        )
    return differences


def _with_our_names(
    backbone: ConvNeXt, state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Return the state of a whole model with the backbone under our names."""
    prefix = 'backbone.'
    inside = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    if not inside:
        raise WeightsError(
            f'{source} is no detector or segmentor: no tensor has a name like backbone.*; weights '
            'of a backbone alone go into the config: model.backbone.init_cfg=dict('
            "type='ConvNeXtPretrained', checkpoint=...)"
        )
    found = to_backbone(inside, part_of_model=True, source=source)
    tensors = select_tensors(backbone, found, 'auto', adapt_stem=False)
    others = {name: value for name, value in state.items() if not name.startswith(prefix)}
    return others | {f'{prefix}{name}': value for name, value in tensors.items()}


def _refuse_missing(names: list[str] | tuple[str, ...], source: str) -> None:
    if names:
        raise WeightsError(
            f'{source} does not fit: it lacks {such_as(names)} of the model. Is the file of '
            'another config, or a classifier?'
        )


def _is_optional(name: str) -> bool:
    """Return whether a file may lack a tensor: of a head for training only, or a count."""
    return name.startswith('auxiliary') or name.endswith('num_batches_tracked')


def _state_dict(content: Mapping) -> OrderedDict[str, Tensor]:
    """Return the tensors by name, as MMEngine finds them: under ``state_dict``, if it exists."""
    given = content.get('state_dict', content)
    state = OrderedDict(
        (str(name).removeprefix('module.'), value)
        for name, value in given.items()
        if isinstance(value, Tensor)
    )
    # The versions of modules; with them, a module recognises the tensors of an old file.
    state._metadata = getattr(given, '_metadata', {})
    return state
