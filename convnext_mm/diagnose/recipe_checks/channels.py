"""Check that the neck or the heads expect the channels of the backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from convnext_mm.config.nodes import as_list
from convnext_mm.messages.findings import Finding, error, note, ok
from convnext_mm.stages import StagedBackbone


def check_channels(cfg: Config) -> Iterator[Finding]:
    """Compare `in_channels` of the neck, or of the heads, with `out_channels` of the backbone."""
    backbone = cfg.model.get('backbone', {})
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    kind = MODELS.get(backbone['type']) if 'type' in backbone else None
    if not (isinstance(kind, type) and issubclass(kind, StagedBackbone)):
        yield note('channels', f'not checked: the backbone is {backbone.get("type")}')
        return
    with torch.device('meta'):
        built = MODELS.build({**backbone, 'init_cfg': None})
    given = built.out_channels
    readers = dict(_readers(cfg.model))
    wrong = False
    for path, reader in readers.items():
        if 'in_channels' not in reader:
            continue
        takes_all = path == 'model.neck' and not isinstance(reader.in_channels, int)
        index = reader.get('in_index', range(len(given)) if takes_all else -1)
        single = isinstance(index, int)
        expected = given[index] if single else [given[i] for i in index]
        actual = reader.in_channels if single else list(reader.in_channels)
        if actual != expected:
            wrong = True
            yield error(
                'channels',
                f'{path}.in_channels is {actual}, but the backbone outputs {expected}',
                f'set {path}.in_channels={expected}',
            )
    start = cfg.model.get('neck', {}).get('start_level', 0)
    if wrong:
        return
    if start and list(getattr(built, f'norm{built.out_indices[0]}').parameters()):
        yield note(
            'channels',
            f'the backbone outputs {list(given)}, but the neck skips {start} of these maps '
            f'(start_level={start}): their norms get no gradient, and DDP reports that',
            f'set model.backbone.out_indices={tuple(range(start, len(given)))}, '
            f'model.neck.in_channels={list(given[start:])} and model.neck.start_level=0',
        )
    else:
        yield ok(
            'channels', f'the backbone outputs {list(given)}, which fits {" and ".join(readers)}'
        )


def _readers(model: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Yield the parts of the model that read the backbone, with their paths in the config."""
    if model.get('neck'):
        yield 'model.neck', model['neck']
        if model.get('head'):  # a classifier, whose neck pools
            yield 'model.head', model['head']
        return
    for name in ('decode_head', 'auxiliary_head'):
        for head in as_list(model.get(name)):
            yield f'model.{name}', head
