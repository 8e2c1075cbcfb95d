"""Check and set the number of classes in every head of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import ConfigDict
from torch import nn

from convnext_mm.config.nodes import dicts_by_path, type_name
from convnext_mm.messages.commands import command
from convnext_mm.messages.findings import Finding, error
from convnext_mm.messages.wording import listed, such_as

# Parts whose num_classes is not the number of classes of the data set. A backbone has the classes
# of its pretraining. The others hold no heads.
_NOT_HEADS = ('backbone', 'neck', 'rpn_head', 'data_preprocessor', 'train_cfg', 'test_cfg')
# Parts of the names of heads with classes of their own. An RPN separates objects from background,
# STDC's auxiliary head learns boundaries, and the semantic heads of HTC, SCNet and Panoptic FPN
# learn stuff.
_OWN_CLASSES = ('RPN', 'STDCHead', 'SemanticHead', 'PanopticFPNHead')
# Panoptic models count things and stuff. All objects of a data set of the user are things.
_THINGS, _STUFF = 'num_things_classes', 'num_stuff_classes'


def check_heads(model: nn.Module, metainfo: Mapping) -> Iterator[Finding]:
    """Check that all heads of a model have as many classes as the data set.

    Args:
        model: A detector or segmentor; it may be on the meta device.
        metainfo: The ``metainfo`` of a data set, with `classes`. Of panoptic data, a head may have
            the `thing_classes` alone.
    """
    allowed = {len(metainfo['classes']), len(metainfo.get('thing_classes') or metainfo['classes'])}
    wrong = [
        f'model.{path} has num_classes={module.num_classes}'
        for path, module in model.named_modules()
        if path  # A segmentor repeats the number of its head.
        and isinstance(getattr(module, 'num_classes', None), int)
        and module.num_classes not in allowed
        and not set(path.split('.')).intersection(_NOT_HEADS)
        and not _has_own_classes(type(module).__name__)
    ]
    if wrong:
        yield error(
            'classes',
            f'{listed(wrong)}, but the data set has {such_as(metainfo["classes"], "class")}',
            f'set num_classes={len(metainfo["classes"])} in every head, or let {command("train")} '
            'CONFIG --data PATH set it',
        )


def _has_own_classes(kind: str) -> bool:
    return any(part in kind for part in _OWN_CLASSES)


def resize_heads(model: ConfigDict, classes: int) -> Iterator[str]:
    """Set the number of classes in every head, in place; yield a line for each change.

    The number of output channels and the class weights of losses follow the number of classes.

    Args:
        model: The model of a config. Heads may be in lists (cascades, auxiliary heads), at any
            depth.
        classes: The number of classes, as ``num_classes`` counts them (without background).
    """
    for path, node in [*dicts_by_path(model, 'model', _NOT_HEADS)]:
        if _has_own_classes(type_name(node)):
            continue
        kinds = [node[key] for key in (_THINGS, _STUFF) if key in node]
        before = node.get('num_classes', sum(kinds) if kinds else None)
        if not isinstance(before, int) or before == classes:
            continue
        counts = {'num_classes': classes, _THINGS: classes, _STUFF: 0}
        counts = {key: count for key, count in counts.items() if key in node}
        if node.get('out_channels') == before or (before, node.get('out_channels')) == (2, 1):
            counts['out_channels'] = classes
        node.update(counts)
        yield from (f'{path}.{key} = {count}' for key, count in counts.items())
        yield from _resize_class_weights(node, path, before, classes)


def _resize_class_weights(head: ConfigDict, path: str, before: int, classes: int) -> Iterator[str]:
    """Resize the class weights of the losses: equal weights are kept, others become 1."""
    for key, child in head.items():
        several = isinstance(child, (list, tuple))
        for index, loss in enumerate(child if several else [child]):
            weights = loss.get('class_weight') if isinstance(loss, Mapping) else None
            # There may be one more, for the background.
            if not isinstance(weights, (list, tuple)) or len(weights) not in (before, before + 1):
                continue
            weight = weights[0] if len(set(weights[:before])) == 1 else 1.0
            loss.class_weight = [weight] * classes + list(weights[before:])
            name = f'{path}.{key}.{index}' if several else f'{path}.{key}'
            yield f'{name}.class_weight = {weight:g} for each class'
