"""A data loader whose batches depend on the seed and the position in the training alone.

MMEngine resumes at the start of an epoch, and the random numbers of an augmentation depend on the
worker that draws them and on everything drawn before. Here each sample gets random numbers of its
own, made from the seed, the epoch and the index of the sample. So a loader can start at any batch.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.dist import get_world_size
from torch.utils.data import DataLoader, Dataset

from convnext_mm.errors import UserError


class SampleKey(int):
    """The index of a sample that also holds the epoch it is drawn in."""

    epoch: int

    def __new__(cls, index: int, epoch: int = 0) -> SampleKey:
        key = super().__new__(cls, index)
        key.epoch = epoch
        return key


class SeededDataset(Dataset):
    """A data set that seeds Python, numpy and PyTorch for each sample.

    The random states of the process are as before when a sample is returned, so a loader without
    workers does not change the numbers that the model draws. It has the attributes of the inner
    data set, for hooks that read or replace the pipeline.

    Args:
        dataset: The data set to read.
        seed: The seed of the training.

    Raises:
        UserError: A sample cannot be read; the message names its image.
    """

    def __init__(self, dataset: Sequence, seed: int) -> None:
        vars(self).update(inner=dataset, seed=seed)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, key: int) -> object:
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        words = (self.seed, getattr(key, 'epoch', 0), int(key))
        python, numpy, torch_ = np.random.SeedSequence(words).generate_state(3).tolist()
        random.seed(python)
        np.random.seed(numpy)
        # Not torch.manual_seed, which queues a call for CUDA each time in a worker.
        torch.default_generator.manual_seed(torch_)
        try:
            return self.inner[int(key)]
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f'{_image_of(self.inner, int(key))} cannot be used: {type(error).__name__}: {error}'
            ) from error
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])

    def __getattr__(self, name: str) -> object:
        if name.startswith('__') or 'inner' not in vars(self):  # while it is unpickled in a worker
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self):
            vars(self)[name] = value
        else:
            setattr(self.inner, name, value)


class ResumableBatches:
    """A batch sampler that skips the batches of an earlier run and adds the epoch to indices.

    Args:
        batches: The batch sampler of the recipe.
        size: Number of samples of the data set.

    Attributes:
        sampler: The sampler inside, for MMEngine's hook that sets its epoch.
        skip: Batches still to leave out.
        first_epoch: The epoch that the next pass over the sampler begins with.
    """

    def __init__(self, batches: Sequence, size: int) -> None:
        self.batches = batches
        self.size = size
        self.sampler = batches.sampler
        self.skip = 0
        self.first_epoch = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> object:
        if name.startswith('__') or 'batches' not in vars(self):
            raise AttributeError(name)
        return getattr(self.batches, name)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        first, drawn = self.first_epoch, 0
        for batch in self.batches:
            # A sampler without an end goes over the data again and again within one pass.
            epochs = [
                first + (drawn + i) * get_world_size() // self.size for i in range(len(batch))
            ]
            drawn += len(batch)
            if self.skip:
                self.skip -= 1
                continue
            yield [SampleKey(index, epoch) for index, epoch in zip(batch, epochs)]


class ResumableLoader(DataLoader):
    """A DataLoader over :class:`ResumableBatches`.

    Workers start with the first batch and not with ``iter()``, because MMEngine asks for the
    iterator before it knows where to resume. The loader draws the seed of its workers from a
    generator of its own, so starting an epoch does not change the numbers that the model draws.
    """

    def __iter__(self) -> Iterator:
        try:
            yield from super().__iter__()
        except UserError as error:
            # PyTorch puts the traceback of the worker into the message.
            raise UserError(str(error).rpartition('UserError: ')[2].strip()) from None

    @classmethod
    def of(cls, loader: DataLoader, seed: int) -> ResumableLoader:
        """Make a resumable loader with the settings of another one."""
        batches = ResumableBatches(loader.batch_sampler, len(loader.dataset))
        return cls(
            SeededDataset(loader.dataset, seed),
            batch_sampler=batches,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=torch.Generator().manual_seed(seed),
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )

    def reseed(self, seed: int) -> None:
        """Take the seed of a resumed training, before the first batch."""
        self.dataset.seed = seed
        self.batch_sampler.sampler.seed = seed

    def passes(self, skip: int) -> Iterator:
        """Yield batches without end, pass after pass over the sampler, but not the first `skip`."""
        self.batch_sampler.skip = skip
        set_epoch = getattr(self.batch_sampler.sampler, 'set_epoch', lambda epoch: None)
        for number in itertools.count():
            set_epoch(number)
            self.batch_sampler.first_epoch = number
            yield from self


def _image_of(dataset: Sequence, index: int) -> str:
    """Name the image of a sample, or the sample if the data set does not tell."""
    try:
        return dataset.get_data_info(index)['img_path']
    except Exception:  # Data sets that mix images have no single one.
        return f'sample {index} of {type(dataset).__name__}'
