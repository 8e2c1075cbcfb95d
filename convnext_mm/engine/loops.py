"""MMEngine's two training loops, able to go on after any iteration."""

from __future__ import annotations

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from convnext_mm.engine.resumable_data import ResumableLoader


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """EpochBasedTrainLoop that starts within an epoch if the checkpoint was written there.

    An evaluation that was due at the checkpoint is made first, because it may be missing.
    """

    def __init__(self, runner: Runner, dataloader: dict | DataLoader, **kwargs) -> None:
        super().__init__(runner, _resumable(runner, dataloader), **kwargs)

    def run(self) -> nn.Module:
        self.runner.call_hook('before_train')
        if self.runner.evaluation_is_missing and self._iter == self._epoch * len(self.dataloader):
            self._evaluate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._evaluate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        done = self._iter - self._epoch * len(self.dataloader)
        batches = self.dataloader.batch_sampler
        batches.skip, batches.first_epoch = done, self._epoch
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, data_batch in enumerate(self.dataloader, done):
            self.runner.restore_random_states()
            self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _evaluate(self) -> None:
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self.runner.evaluate()


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """IterBasedTrainLoop that skips the batches of the earlier run without reading their images."""

    def __init__(self, runner: Runner, dataloader: dict | DataLoader, **kwargs) -> None:
        super().__init__(runner, _resumable(runner, dataloader), **kwargs)

    def run(self) -> nn.Module:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.dataloader_iterator = self.dataloader.passes(skip=self._iter)
        if self.runner.evaluation_is_missing:
            self._evaluate()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            data_batch = next(self.dataloader_iterator)
            self.runner.restore_random_states()
            self.run_iter(data_batch)
            self._evaluate()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _evaluate(self) -> None:
        self._decide_current_val_interval()
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
            self.runner.evaluate()


def _resumable(runner: Runner, dataloader: dict | DataLoader) -> ResumableLoader:
    if isinstance(dataloader, dict):
        dataloader = runner.build_dataloader(
            dataloader,
            seed=runner.seed,
            diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False),
        )
    return ResumableLoader.of(dataloader, runner.seed)
