"""A kind of problem in a data set, and the problems that both kinds of data sets can have.

Each check names its problems in a table of constants: ``coco/problems.py`` and
``label_maps/problems.py``. The documentation lists these tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from convnext_mm.messages.findings import Finding, Level
from convnext_mm.messages.wording import printable


@dataclass(frozen=True)
class Problem:
    """A kind of problem.

    Attributes:
        level: How much it matters.
        what: What is found; may have fields in braces, to be filled in by the check.
        remedy: What to do or what was done; may have fields too.
    """

    level: Level
    what: str
    remedy: str = ''

    @classmethod
    def error(cls, what: str, remedy: str = '') -> Problem:
        """A problem that stops a training."""
        return cls(Level.ERROR, what, remedy)

    @classmethod
    def repaired(cls, what: str, remedy: str = '') -> Problem:
        """A problem that the check corrects in a copy."""
        return cls(Level.REPAIRED, what, remedy)

    @classmethod
    def note(cls, what: str, remedy: str = '') -> Problem:
        """A fact that is worth knowing."""
        return cls(Level.NOTE, what, remedy)

    def finding(self, where: str, examples: Iterable[object] = (), **fields: object) -> Finding:
        """Return the finding that a split, or '' for the whole data set, has this problem."""
        # Names and values of the user may hold any character.
        fields = {name: printable(str(value)) for name, value in fields.items()}
        what, remedy = self.what.format(**fields), self.remedy.format(**fields)
        examples = tuple(printable(str(example)) for example in examples)
        return Finding(self.level, where, what, examples, remedy)

    def cases(self, where: str, examples: Iterable[object], **fields: object) -> Iterator[Finding]:
        """Yield one finding with these examples, or nothing if there are none."""
        finding = self.finding(where, examples, **fields)
        if finding.examples:
            yield finding


def repeated(values: Iterable[object]) -> list[str]:
    """Name the values that occur several times, with their number."""
    counts = Counter(values)
    return [f'{value} ({count} times)' for value, count in counts.items() if count > 1]


UNREADABLE_IMAGES = Problem.error(
    'images that cannot be read completely', 'copy or download them again'
)
TOO_FEW_IMAGES = Problem.error(
    'too few annotated images to take some for validation',
    'there must be at least 2, and the number is {count}: add images, or a validation split',
)
SHARED_IMAGES = Problem.note(
    'images that are also in the training split',
    'scores on images that were trained on are too high',
)
