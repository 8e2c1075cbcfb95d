"""MMEngine's Runner, resumable after any iteration with the same result.

A checkpoint of this Runner also holds, for each process, the random states of Python, numpy and
PyTorch and the buffers of the model (BN without synchronisation differs between processes). It
holds tensors and plain values only.
"""

from __future__ import annotations

import logging
import pickle
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner import Runner as MMEngineRunner
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn

from convnext_mm.datasets.labels import classes_of
from convnext_mm.engine.checkpoints import publish, unfinished_name
from convnext_mm.engine.hooks.unwrap import unwrap
from convnext_mm.engine.loops import ResumableEpochLoop, ResumableIterLoop
from convnext_mm.engine.plain_checkpoints import HISTORY, pack, unpack
from convnext_mm.engine.resume_checks import (
    BATCH_SIZE,
    SAMPLES,
    Resumed,
    changes_the_order,
    check_shapes,
    differences,
    trained_before,
)
from convnext_mm.errors import CheckpointWriteError
from convnext_mm.messages.findings import as_text, raise_errors
from convnext_mm.messages.log import log_once
from convnext_mm.weights.reading import refused_pickle

STATE = 'process_states'
_ONLY_FOR_RESUMING = ('optimizer', 'param_schedulers', STATE, HISTORY)
# The loops of MMEngine by the names that configs have for them.
_LOOPS = {
    'EpochBasedTrainLoop': ResumableEpochLoop,
    'IterBasedTrainLoop': ResumableIterLoop,
    EpochBasedTrainLoop: ResumableEpochLoop,
    IterBasedTrainLoop: ResumableIterLoop,
}


class Runner(MMEngineRunner):
    """Train with checkpoints that are written whole and resumed exactly.

    Training loops of other kinds than MMEngine's two are left as they are and resume as in
    MMEngine. A Runner can also load the content of a file that was read and checked before it was
    built (:meth:`hold`).

    Attributes:
        resume_anyway: Whether to resume although the training differs from the one that wrote the
            checkpoint, and so gives another result.
    """

    resume_anyway = False
    _content: Mapping | None = None
    _resumes_from = ''

    def __init__(self, *args, **kwargs) -> None:
        self._evaluating = False
        self._before_evaluation: dict | None = None
        self._to_restore: dict | None = None
        self.evaluation_is_missing = False
        self._order_changed = False
        super().__init__(*args, **kwargs)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        if isinstance(loop, dict):
            loop = ConfigDict(loop)
            by_epoch = loop.pop('by_epoch', None)
            kind = loop.get('type', 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop')
            if isinstance(kind, str):
                kind = kind.removeprefix('mmengine.')
            loop.type = _LOOPS.get(kind, kind)
        return super().build_train_loop(loop)

    def train(self) -> nn.Module:
        """Train to the end of the schedule, and end the workers of the data loaders."""
        try:
            return super().train()
        finally:
            # Python's garbage collector would end them too, and wait 5 seconds for each.
            for loop in (self._train_loop, self._val_loop):
                iterator = getattr(getattr(loop, 'dataloader', None), '_iterator', None)
                if iterator is not None:
                    iterator._shutdown_workers()

    def evaluate(self) -> None:
        """Run the validation loop; the random states are as before when it ends."""
        self.restore_random_states()
        self._before_evaluation = _random_states()
        self._evaluating = True
        try:
            self.val_loop.run()
        finally:
            self._evaluating = False
        _set_random_states(self._before_evaluation)
        self._before_evaluation = None

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write a checkpoint whole or not at all; every process must call this.

        Raises:
            CheckpointWriteError: The file system refused it.
        """
        states = all_gather_object(self._process_state())
        meta = kwargs['meta'] = dict(kwargs.get('meta') or {})
        meta.setdefault('evaluated', self._evaluating)
        own = self._properties()
        meta |= {BATCH_SIZE: own.batch_size, SAMPLES: own.samples}
        if get_rank() != 0:
            return
        path = Path(out_dir, filename)
        unfinished = path.with_name(unfinished_name(filename))
        self._states_to_save = states
        try:
            super().save_checkpoint(out_dir, unfinished.name, *args, **kwargs)
            publish(unfinished, path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer raises the latter
            unfinished.unlink(missing_ok=True)
            raise CheckpointWriteError(
                f'{path} cannot be written: {error}. Earlier checkpoints are untouched'
            ) from error
        finally:
            del self._states_to_save

    def call_hook(self, fn_name: str, **kwargs) -> None:
        if fn_name == 'before_save_checkpoint':
            kwargs['checkpoint'][STATE] = self._states_to_save
        if fn_name == 'after_load_checkpoint' and self._resumes_from:
            self._check_resume(kwargs['checkpoint'])
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_save_checkpoint':  # Hooks see the objects of MMEngine.
            pack(kwargs['checkpoint'])

    def hold(self, content: Mapping) -> None:
        """Use this content instead of reading the file of ``load_from``.

        The parts that only resuming needs are not held, to save memory.
        """
        self._content = {k: v for k, v in content.items() if k not in _ONLY_FOR_RESUMING}

    def load_checkpoint(self, filename: str, *args, **kwargs) -> Mapping:
        """Load the content that is held; read the file if there is none, as for resuming.

        Raises:
            WeightsError: The file asks to run code.
        """
        content, self._content = self._content, None
        if content is not None:
            self.call_hook('after_load_checkpoint', checkpoint=content)
            _load_checkpoint_to_model(unwrap(self.model), content)
            self._has_loaded = True
            self.logger.info(f'Load checkpoint from {filename}')
            return content
        try:
            checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        except pickle.UnpicklingError as error:
            raise refused_pickle(filename, error) from None
        # MMEngine runs this text as Python when it resumes. Its own checkpoints have no such entry.
        checkpoint.get('meta', {}).pop('config', None)
        unpack(checkpoint)
        self._loaded_states = checkpoint.get(STATE)
        self._was_evaluated = checkpoint.get('meta', {}).get('evaluated', True)
        return checkpoint

    def resume(self, filename: str, *args: object, map_location: str | Callable = 'cpu') -> None:
        """Resume from a checkpoint: parameters, optimizer, position, seed and random states.

        Raises:
            UserError: The checkpoint is of another model or optimizer; or of a training with other
                classes, another number of processes or another batch size, which are only warnings
                with :attr:`resume_anyway`.
        """
        self._resumes_from = filename
        super().resume(filename, *args, map_location=map_location)
        self._resumes_from = ''
        self.evaluation_is_missing = not self._was_evaluated
        states = self._loaded_states
        if states is None:
            print_log(
                f'{filename} holds no random states: the training goes on from the start of its '
                'epoch, and its result differs from one without a break',
                logger='current',
            )
        if states is None or self._order_changed:
            if isinstance(self.train_loop, ResumableEpochLoop):
                self.train_loop._iter = self.train_loop._epoch * len(self.train_dataloader)
            return
        self._to_restore = states[get_rank()]
        for module, buffers in zip(self._modules(), self._to_restore.get('buffers', ())):
            module.load_state_dict(buffers, strict=False)
        if hasattr(self.train_dataloader, 'reseed'):
            self.train_dataloader.reseed(self.seed)

    def _check_resume(self, checkpoint: Mapping) -> None:
        """Compare a loaded checkpoint with this training, before anything takes its content."""
        check_shapes(unwrap(self.model).state_dict(), checkpoint, self._resumes_from)
        states = checkpoint.get(STATE)
        before = trained_before(checkpoint, get_world_size() if states is None else len(states))
        now = self._properties()
        self._order_changed = changes_the_order(before, now)
        found = list(differences(before, now))
        if not self.resume_anyway:
            raise_errors(difference.refusal(self._resumes_from) for difference in found)
        for difference in found:
            log_once(as_text([difference.warning(self._resumes_from)]), logging.WARNING)

    def _properties(self) -> Resumed:
        loader = self.train_dataloader
        batch_size = getattr(loader.batch_sampler, 'batch_size', None)
        classes, samples = classes_of(loader.dataset), len(loader.dataset)
        return Resumed(classes, get_world_size(), batch_size, samples)

    def restore_random_states(self) -> None:
        """Set the random states of the checkpoint, once, before the first step or evaluation."""
        if self._to_restore is not None:
            _set_random_states(self._to_restore)
            self._to_restore = None

    def _process_state(self) -> dict:
        state = self._before_evaluation or _random_states()
        if get_world_size() > 1:
            buffers = [
                {name: value.cpu() for name, value in module.named_buffers()}
                for module in self._modules()
            ]
            state = dict(state, buffers=buffers)
        return state

    def _modules(self) -> list[nn.Module]:
        """Return the model and its moving averages."""
        averages = (getattr(hook, 'ema_model', None) for hook in self.hooks)
        return [unwrap(self.model), *filter(None, averages)]


def _random_states() -> dict:
    kind, keys, *rest = np.random.get_state()
    return dict(
        python=random.getstate(),
        numpy=(kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    )


def _set_random_states(states: dict) -> None:
    version, internal, gauss = states['python']
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = states['numpy']
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'])
    if states['cuda'] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'])
