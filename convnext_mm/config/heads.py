"""The number of classes of a model's heads, wherever in its config they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import ConfigDict

# Parts whose num_classes, if any, is not that of the data set: the RPN tells objects from no
# objects, a backbone's is of what it was pretrained on; the others hold no heads.
_NOT_HEADS = ('backbone', 'neck', 'rpn_head', 'data_preprocessor', 'train_cfg', 'test_cfg')


def resize_heads(model: ConfigDict, classes: int) -> Iterator[str]:
    """Set every head's number of classes, and what goes with it; yields a line for each change.

    Args:
        model: A config's model; heads may be in lists (cascades, auxiliary heads) and at any depth.
        classes: How many there are, background not counted where the library does not count it.
    """
    yield from _resize(model, 'model', classes)


def num_classes_by_head(model: Mapping) -> dict[str, int]:
    """Every head's ``num_classes`` in a model's config, by its dotted path."""
    return dict(_sizes(model, 'model'))


def _sizes(node: object, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _sizes(child, f'{path}.{index}')
    if not isinstance(node, Mapping):
        return
    if isinstance(node.get('num_classes'), int):
        yield path, node['num_classes']
    for key, child in node.items():
        if key not in _NOT_HEADS:
            yield from _sizes(child, f'{path}.{key}')


def _resize(node: object, path: str, classes: int) -> Iterator[str]:
    if isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _resize(child, f'{path}[{index}]', classes)
    if not isinstance(node, dict):
        return
    # Panoptic models count things and stuff; of a user's objects, all are things.
    kinds = [node[key] for key in ('num_things_classes', 'num_stuff_classes') if key in node]
    before = node.get('num_classes', sum(kinds) if kinds else None)
    if isinstance(before, int) and before != classes:
        counts = {'num_classes': classes, 'num_things_classes': classes, 'num_stuff_classes': 0}
        counts = {key: count for key, count in counts.items() if key in node}
        if node.get('out_channels') == before:
            counts['out_channels'] = classes
        node.update(counts)
        yield from (f'{path}.{key} = {count}' for key, count in counts.items())
        yield from _reweigh(node, path, before, classes)
    for key, child in node.items():
        if key not in _NOT_HEADS:
            yield from _resize(child, f'{path}.{key}', classes)


def _reweigh(head: ConfigDict, path: str, before: int, classes: int) -> Iterator[str]:
    """Weights for each class in a head's losses: kept only where the classes' are all equal."""
    losses = [(key, loss) for key, loss in head.items() if isinstance(loss, dict)]
    for key, loss in losses:
        weights = loss.get('class_weight')
        if not isinstance(weights, (list, tuple)) or len(weights) not in (before, before + 1):
            continue
        of_background = list(weights[before:])
        alike = len(set(weights[:before])) == 1
        loss.class_weight = [weights[0] if alike else 1.0] * classes + of_background
        yield f'{path}.{key}.class_weight = {"as before" if alike else "1"} for each class'
