"""Write checkpoints in time: by epochs or iterations, by minutes, and when a run is stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from mmengine.dist import all_gather_object, barrier, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from convnext_mm.errors import StoppedError

_SECONDS_BETWEEN_AGREEMENTS = 1.0


@HOOKS.register_module()
class ReliableCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook that also writes by the clock and on a signal.

    On SIGTERM, SIGINT and SIGUSR1 the current step ends, the hook writes a checkpoint and raises
    StoppedError. A second signal ends the process at once. All processes stop after the same
    iteration. Checkpoints of the clock and of signals are called ``iter_N.pth``; the next one of
    any kind replaces them. An old checkpoint is removed only when a newer one is whole.

    Args:
        minutes: Time between checkpoints of the clock; 0 writes none.
        kwargs: As for CheckpointHook.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self, minutes: float = 15, **kwargs) -> None:
        super().__init__(**kwargs)
        self.minutes = minutes
        self._signal: signal.Signals | None = None
        self._handlers: dict[signal.Signals, object] = {}
        self._passing: Path | None = None  # the last checkpoint of the clock

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._passing = self._passing_of(runner)
        self._last_save = time.monotonic()
        self._agree_at_once()
        for number in self.SIGNALS:
            try:
                self._handlers[number] = signal.signal(number, self._note)
            except ValueError:  # Not the main thread, as in a notebook's worker.
                break

    def after_train(self, runner: Runner) -> None:
        super().after_train(runner)
        self.restore_handlers()

    def restore_handlers(self) -> None:
        """Give the signals back to their earlier handlers."""
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        super().after_train_iter(runner, batch_idx, *args, **kwargs)
        done = runner.iter + 1
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if done % counts and done != runner.max_iters:
            return  # Gradients that were summed so far are in no checkpoint.
        received, is_time = self._agree(self._signal, self._is_time())
        if received or is_time:
            self._save_in_passing(runner, dict(epoch=runner.epoch, iter=done))
        if received:
            self._stop(received, done)

    def before_val_epoch(self, runner: Runner) -> None:
        super().before_val_epoch(runner)
        # Processes agree only if all evaluate the same number of batches.
        batches = all_gather_object(len(runner.val_dataloader))
        self._agrees_in_evaluation = len(set(batches)) == 1
        self._agree_at_once()

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        super().after_val_iter(runner, *args, **kwargs)
        if not self._agrees_in_evaluation:
            return
        (received,) = self._agree(self._signal)
        if received:
            meta = dict(epoch=runner.epoch, iter=runner.iter, evaluated=False)
            self._save_in_passing(runner, meta)
            self._stop(received, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        super().after_val_epoch(runner, metrics)
        self._agree_at_once()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save as MMEngine does, but remove the oldest checkpoint afterwards and not before."""
        keep = self.max_keep_ckpts
        outdated = None
        if keep > 0 and len(self.keep_ckpt_ids) == keep and self.keep_ckpt_ids[-1] != step:
            outdated = self.keep_ckpt_ids.popleft()
        super()._save_checkpoint_with_step(runner, step, meta)
        self._last_save = time.monotonic()
        if outdated is not None:
            self._remove(Path(self.out_dir, self.filename_tmpl.format(outdated)))
        self._forget_passing(Path(self.last_ckpt))

    def _save_in_passing(self, runner: Runner, meta: dict) -> None:
        path = Path(self.out_dir, f'iter_{meta["iter"]}.pth')
        if self.last_ckpt is None or Path(self.last_ckpt) != path:
            runner.save_checkpoint(
                str(path.parent), path.name, by_epoch=False, meta=meta, backend_args=None
            )
            if is_main_process():
                Path(runner.work_dir, 'last_checkpoint').write_text(str(path))
            self._forget_passing(path)
            self._passing = path
        self._last_save = time.monotonic()

    def _forget_passing(self, newer: Path) -> None:
        if self._passing and self._passing != newer:
            self._remove(self._passing)
        self._passing = None

    def _passing_of(self, runner: Runner) -> Path | None:
        """Find the checkpoint that a stopped run left behind, if this one was resumed from it."""
        source = Path(runner._load_from or '')
        regular = not self.by_epoch and self.interval > 0 and runner.iter % self.interval == 0
        is_passing = source.name == f'iter_{runner.iter}.pth' and not regular
        return source if is_passing and source.parent == Path(self.out_dir) else None

    @staticmethod
    def _remove(path: Path) -> None:
        if is_main_process():
            path.unlink(missing_ok=True)

    def _is_time(self) -> bool:
        return bool(self.minutes) and time.monotonic() - self._last_save > 60 * self.minutes

    def _agree_at_once(self) -> None:
        """Compare votes after the next iteration: the duration of iterations may have changed."""
        self._last_agreement = time.monotonic()
        self._agree_every, self._since_agreement = 1, 0

    def _agree(self, *votes: object) -> tuple:
        """Return the votes of the first processes that have one; all processes get the same votes.

        Several processes compare votes about once a second, after the same iterations.
        """
        if get_world_size() == 1:
            return votes
        self._since_agreement += 1
        if self._since_agreement < self._agree_every:
            return (None,) * len(votes)
        now = time.monotonic()
        gathered = all_gather_object((votes, now - self._last_agreement))
        slowest = max(seconds for _, seconds in gathered) / self._since_agreement
        self._agree_every = min(100, max(1, int(_SECONDS_BETWEEN_AGREEMENTS / max(slowest, 1e-3))))
        self._last_agreement, self._since_agreement = now, 0
        return tuple(next(filter(None, vote), None) for vote in zip(*(v for v, _ in gathered)))

    def _note(self, number: int, frame: object) -> None:
        self._signal = signal.Signals(number)
        self.restore_handlers()  # A second signal does what it does without this hook.

    def _stop(self, received: signal.Signals, done: int) -> None:
        self.restore_handlers()
        # Launchers end all processes when one has ended: first, the main process must have written.
        barrier()
        written = self._passing or self.last_ckpt
        raise StoppedError(
            f'stopped by {received.name} after iteration {done:,}; {written} is written. To go on, '
            'give the same command with --resume'
        )
