"""Read and set the number of classes in every head of a model config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import ConfigDict

# Parts whose num_classes is not the number of classes of the data set. An RPN separates objects
# from background, and a backbone has the classes of its pretraining. The others hold no heads.
_NOT_HEADS = ('backbone', 'neck', 'rpn_head', 'data_preprocessor', 'train_cfg', 'test_cfg')
# Panoptic models count things and stuff. All objects of a data set of the user are things.
_THINGS, _STUFF = 'num_things_classes', 'num_stuff_classes'


def num_classes_by_head(model: Mapping) -> dict[str, int]:
    """Return the ``num_classes`` of every head in a model config, by dotted path."""
    sizes = {path: node.get('num_classes') for path, node in _nodes(model, 'model')}
    return {path: size for path, size in sizes.items() if isinstance(size, int)}


def resize_heads(model: ConfigDict, classes: int) -> Iterator[str]:
    """Set the number of classes in every head, in place; yield a line for each change.

    The number of output channels and the class weights of losses follow the number of classes.

    Args:
        model: The model of a config. Heads may be in lists (cascades, auxiliary heads), at any
            depth.
        classes: The number of classes, as ``num_classes`` counts them (without background).
    """
    for path, node in [*_nodes(model, 'model')]:
        kinds = [node[key] for key in (_THINGS, _STUFF) if key in node]
        before = node.get('num_classes', sum(kinds) if kinds else None)
        if not isinstance(before, int) or before == classes:
            continue
        counts = {'num_classes': classes, _THINGS: classes, _STUFF: 0}
        counts = {key: count for key, count in counts.items() if key in node}
        if node.get('out_channels') == before:
            counts['out_channels'] = classes
        node.update(counts)
        yield from (f'{path}.{key} = {count}' for key, count in counts.items())
        yield from _resize_class_weights(node, path, before, classes)


def _nodes(node: object, path: str) -> Iterator[tuple[str, Mapping]]:
    """Yield every dict of a model that may be a head, with its dotted path."""
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _nodes(child, f'{path}.{index}')
    elif isinstance(node, Mapping):
        yield path, node
        for key, child in node.items():
            if key not in _NOT_HEADS:
                yield from _nodes(child, f'{path}.{key}')


def _resize_class_weights(head: ConfigDict, path: str, before: int, classes: int) -> Iterator[str]:
    """Resize the class weights of the losses: equal weights are kept, others become 1."""
    losses = [(key, loss) for key, loss in head.items() if isinstance(loss, Mapping)]
    for key, loss in losses:
        weights = loss.get('class_weight')
        # There may be one more, for the background.
        if not isinstance(weights, (list, tuple)) or len(weights) not in (before, before + 1):
            continue
        weight = weights[0] if len(set(weights[:before])) == 1 else 1.0
        loss.class_weight = [weight] * classes + list(weights[before:])
        yield f'{path}.{key}.class_weight = {weight:g} for each class'
