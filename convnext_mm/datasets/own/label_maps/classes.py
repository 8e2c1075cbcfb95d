"""The classes of label maps: the names in a file of the user, or made up, and the meaning of id 0.

Label maps alone do not say whether id 0 is the first class, or no class and id 1 is the first. The
names file can say so: its first line may begin with the id, ``0: sky`` or ``1: sky``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from convnext_mm.datasets.own.label_maps import problems
from convnext_mm.datasets.own.label_maps.names_file import (
    ADE20K_FILE,
    NAMES_FILE,
    NamesFile,
    find_names,
)
from convnext_mm.datasets.own.problem import repeated
from convnext_mm.datasets.own.recognise import Layout
from convnext_mm.messages.findings import Finding
from convnext_mm.messages.wording import counted, listed
from convnext_mm.visualization.palette import Colour, is_background

IGNORED = 255  # the id of pixels without a class

_BACKGROUND_COLOUR = (0, 0, 0)


@dataclass(frozen=True)
class LabelClasses:
    """The classes that ids mean.

    Attributes:
        names: Their names, in the order of the ids.
        palette: A colour (R, G, B) for each class, or empty.
        reduce_zero_label: Whether id 0 is not a class, so that the first class has id 1.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    reduce_zero_label: bool

    @property
    def ids(self) -> range:
        """The ids of the classes, in their order."""
        return range(self.reduce_zero_label, len(self.names) + self.reduce_zero_label)

    @property
    def ignored(self) -> set[int]:
        """The ids that mean no class."""
        return {0, IGNORED} if self.reduce_zero_label else {IGNORED}

    def name(self, label_id: int) -> str:
        """Return the name of the class with this id."""
        return self.names[self.ids.index(label_id)]


def find_classes(layout: Layout, ids: Collection[int]) -> tuple[LabelClasses, list[Finding]]:
    """Find the meaning of the ids, from the class names of the user and the ids in all label maps.

    Raises:
        UserError: The names cannot be read.
    """
    file = find_names(layout.root)
    labels = {*ids} - {IGNORED}
    if file.names:
        zero_is_no_class, findings = _read_zero(file, labels, layout.like_ade20k)
    else:
        # One class alone cannot be learned, so ids 0 and 1 are two classes in any folder.
        zero_is_no_class, findings = layout.like_ade20k and max(labels, default=0) > 1, []
    names = file.names or _made_up_names(labels, zero_is_no_class)
    classes = LabelClasses(names, file.palette, zero_is_no_class)
    if not file.names:
        zero = ', with one for id 0 first if that is a class' if zero_is_no_class else ''
        fields = dict(names=listed(names), path=file.path, zero=zero)
        findings.append(problems.NO_NAMES.finding('', **fields))
    elif len(names) == 1 and not is_background(names[0]) and file.first_id != 0:
        classes = _with_background(classes)
        findings = [problems.BACKGROUND_ADDED.finding('', path=file.path)]
    findings += _check_names(file, classes)
    if classes.palette and len(classes.palette) != len(classes.names):
        findings.append(problems.OTHER_PALETTE.finding('', file=file.palette_path.name))
        classes = LabelClasses(classes.names, (), classes.reduce_zero_label)
    unused = [name for i, name in zip(classes.ids, classes.names) if i not in labels]
    findings += problems.UNUSED_CLASSES.cases('', unused)
    return classes, findings


def _read_zero(file: NamesFile, labels: set[int], like_ade20k: bool) -> tuple[bool, list[Finding]]:
    """Return whether id 0 is no class, with a finding if the names file does not say so.

    Args:
        file: The names, at least one.
        labels: All ids in the label maps, except 255.
        like_ade20k: Whether the folders are named as in ADE20K, where id 0 is no class.
    """
    names, fields = file.names, dict(name=file.names[0], path=file.path)
    if file.path.name == ADE20K_FILE:
        fields = dict(reason=f'{ADE20K_FILE} counts from 1', path=NAMES_FILE)
        return True, [problems.ZERO_IS_NO_CLASS.finding('', **fields)]
    if file.first_id is not None:
        return file.first_id == 1, []
    if is_background(names[0]):
        return False, []
    if max(labels, default=0) == len(names):
        reason = f'there are {counted(len(names), "class name")}, and ids up to {len(names)}'
        return True, [problems.ZERO_IS_NO_CLASS.finding('', reason=reason, **fields)]
    unused = {*range(len(names))} - labels
    if not labels or (not unused and not like_ade20k):
        return False, []
    if unused and (like_ade20k or 0 not in labels):
        return False, [problems.UNCLEAR_ZERO.finding('', **fields)]
    return False, [problems.ZERO_IS_FIRST_CLASS.finding('', **fields)]


def _made_up_names(labels: set[int], zero_is_no_class: bool) -> tuple[str, ...]:
    ids = range(int(zero_is_no_class), max(labels, default=0) + 1)
    return tuple(f'class {i}' for i in ids)


def _with_background(classes: LabelClasses) -> LabelClasses:
    """Return two classes, the background with id 0 and the given class with id 1."""
    palette = classes.palette
    if len(palette) == 1:
        palette = (_BACKGROUND_COLOUR, *palette)
    return LabelClasses(('background', *classes.names), palette, False)


def _check_names(file: NamesFile, classes: LabelClasses) -> Iterator[Finding]:
    if file.path.name != ADE20K_FILE:  # which has some short names twice
        yield from problems.DUPLICATE_NAMES.cases('', repeated(file.names), path=file.path)
    if classes.ids[-1] >= IGNORED:
        fields = dict(count=len(classes.names), first=classes.ids[0])
        yield problems.TOO_MANY_NAMES.finding('', **fields)
