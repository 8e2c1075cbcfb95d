"""Does a checkpoint fit the model of a config."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import Config
from torch import Tensor

from convnext_mm.backbone import ConvNeXt
from convnext_mm.config.model import build_on_meta
from convnext_mm.messages.wording import such_as
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.fitting import fitting_tensors
from convnext_mm.weights.formats import to_backbone


def check_model_file(source: str, cfg: Config, complete: bool = False) -> None:
    """Make sure that MMEngine, which loads what fits and only logs the rest, loads the ConvNeXt.

    Args:
        source: A detector's or segmentor's file: what is given as ``load_from``.
        cfg: The config; if its backbone is another one's, nothing is checked.
        complete: Whether all the rest of the model must be in the file too, as for testing.

    Raises:
        FileNotFoundError: The file is not there or cannot be downloaded.
        ValueError: The file does not fit; the message says why.
    """
    if 'module' in cfg.model:  # inside test-time augmentation
        cfg = Config(dict(cfg, model=cfg.model.module))
    model = build_on_meta(cfg)
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, ConvNeXt):
        return
    content = read_checkpoint(source)
    # Where MMEngine looks, and nowhere else.
    state_dict = content.get('state_dict', content)
    names = {str(name).removeprefix('module.'): value for name, value in state_dict.items()}
    inside = {n.removeprefix('backbone.'): v for n, v in names.items() if n.startswith('backbone.')}
    try:
        if not inside:
            raise ValueError(
                'no detector or segmentor, for no tensor in it is called backbone.*; weights of a '
                'backbone alone go into the config: model.backbone.init_cfg=dict('
                "type='ConvNeXtPretrained', checkpoint=...)"
            )
        state = to_backbone(inside, part_of_model=True)
        tensors = fitting_tensors(backbone, state, 'auto', adapt_stem=False)
        if complete:
            given = {n: v for n, v in names.items() if not n.startswith('backbone.')}
            given |= {f'backbone.{name}': value for name, value in tensors.items()}
            _check_complete(model.state_dict(), given)
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from None


def _check_complete(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    needed = {
        name: value
        for name, value in own.items()
        # These only train; and old files do not count batches.
        if not name.startswith('auxiliary') and not name.endswith('num_batches_tracked')
    }
    absent = [name for name in needed if name not in given]
    if absent:
        raise ValueError(
            f'it lacks {such_as(absent)} of the model to test; is it of another model, or of a '
            'classifier?'
        )
    other = [name for name, value in needed.items() if given[name].shape != value.shape]
    if other:
        shapes = f'{tuple(given[other[0]].shape)}, the model {tuple(needed[other[0]].shape)}'
        raise ValueError(
            f'{such_as(other)} of another shape than the model to test has: the file {shapes}; is '
            'it of another model, or for another number of classes?'
        )
