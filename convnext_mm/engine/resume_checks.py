"""Compare a checkpoint with the training that is to resume from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from convnext_mm.config.classes import checkpoint_metainfo
from convnext_mm.errors import WeightsError
from convnext_mm.messages.findings import Finding, error, note
from convnext_mm.messages.wording import counted, such_as
from convnext_mm.weights.fitting import compare

# Keys in the `meta` of a checkpoint: the batch size of one process, the length of the data set.
BATCH_SIZE, SAMPLES = 'batch_size', 'training_samples'


@dataclass(frozen=True)
class Resumed:
    """The properties of a training that must not change when it resumes.

    Attributes:
        classes: The names of the classes; empty if the data set names none.
        processes: The number of processes.
        batch_size: The batch size of one process, if it is known.
        samples: The number of samples in an epoch, if it is known.
    """

    classes: tuple[str, ...]
    processes: int
    batch_size: int | None
    samples: int | None

    def has_other(self, name: str, other: Resumed) -> bool:
        """Return whether a property is known of both trainings and differs."""
        pair = getattr(self, name), getattr(other, name)
        return None not in pair and pair[0] != pair[1]


@dataclass(frozen=True)
class Difference:
    """A difference that changes the result, compared with a training without a break.

    Attributes:
        what: The value in the checkpoint and the value in this training.
        loss: What the training loses if it resumes in spite of the difference.
    """

    what: str
    loss: str

    def refusal(self, source: str) -> Finding:
        """Return the finding that stops the training."""
        return error(
            '--resume',
            f'{source} {self.what}. Resume with the same value; or start a new training from the '
            f'weights: load_from={source}, without --resume; or add --resume-anyway, and '
            f'{self.loss}',
        )

    def warning(self, source: str) -> Finding:
        """Return the finding if the training resumes in spite of the difference."""
        return note('--resume-anyway', f'{source} {self.what}: {self.loss}')


def differences(before: Resumed, now: Resumed) -> Iterator[Difference]:
    """Yield the differences between the training that wrote a checkpoint and this one."""
    if before.classes and now.classes and before.classes != now.classes:
        yield Difference(
            f'was trained on {such_as(before.classes, "class")}, but the data have '
            f'{such_as(now.classes, "class")}',
            'the outputs of the heads stand for other classes from now on',
        )
    start = 'an epoch that was interrupted starts again, and the result is not the same as'
    if before.processes != now.processes:
        yield Difference(
            f'was written by {counted(before.processes, "process")}, but this training has '
            f'{now.processes}',
            f'{start} without the break; learning rate and schedule stay as in the config',
        )
    if before.has_other('samples', now):
        yield Difference(
            f'was trained on {counted(before.samples, "sample")}, but the data have '
            f'{now.samples:,}',
            f'{start} without the break; learning rate and schedule stay as in the config',
        )
    if before.has_other('batch_size', now):
        yield Difference(
            f'was written with batch_size={before.batch_size}, but this training has '
            f'{now.batch_size}',
            f'{start} without the break; learning rate and schedule stay as in the config',
        )


def changes_the_order(before: Resumed, now: Resumed) -> bool:
    """Return whether a position in the epoch stands for other images than before."""
    return any(before.has_other(name, now) for name in ('processes', 'batch_size', 'samples'))


def check_shapes(model: Mapping[str, Tensor], checkpoint: Mapping, source: str) -> None:
    """Make sure that a checkpoint has all tensors of the model; MMEngine only logs others.

    Raises:
        WeightsError: A tensor is missing or has another shape.
    """
    found = compare(model, checkpoint.get('state_dict', {}))
    wrong = found.missing + found.other_shape
    if wrong:
        first = f'{such_as(found.other_shape)} of another shape' if found.other_shape else ''
        second = f'{such_as(found.missing)} missing' if found.missing else ''
        raise WeightsError(
            f'--resume {source}: it is a checkpoint of another model: '
            f'{", ".join(filter(None, (first, second)))}. To start a new training from the weights '
            f'that fit: load_from={source}, without --resume'
        )


def trained_before(checkpoint: Mapping, processes: int) -> Resumed:
    """Return the properties of the training that wrote a checkpoint.

    Args:
        checkpoint: Its content.
        processes: The number of processes that wrote it.
    """
    classes = checkpoint_metainfo(checkpoint).get('classes') or ()
    meta = checkpoint.get('meta') or {}
    return Resumed(tuple(classes), processes, meta.get(BATCH_SIZE), meta.get(SAMPLES))
