"""Stop a training whose loss is NaN or infinite before the parameters take it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from convnext_mm.engine.hooks.unwrap import unwrap
from convnext_mm.errors import DivergedError
from convnext_mm.messages.wording import listed


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Check the loss between the forward and the backward pass.

    The steps that GradScaler skips because of infinite gradients are not affected: their loss is
    finite.

    Raises:
        DivergedError: The loss is NaN or infinite. The message names the iteration, the learning
            rate, the terms of the loss, the images of the batch and the last checkpoint.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        model = unwrap(runner.model)
        parse_losses = model.parse_losses

        def checked(losses: Mapping) -> tuple[torch.Tensor, dict]:
            total, terms = parse_losses(losses)
            if not total.isfinite():
                raise DivergedError(self._message(runner, terms))
            return total, terms

        model.parse_losses = checked

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        self._batch = data_batch

    def after_train(self, runner: Runner) -> None:
        del unwrap(runner.model).parse_losses

    def _message(self, runner: Runner, terms: Mapping) -> str:
        rate = max(group['lr'] for group in runner.optim_wrapper.param_groups)
        values = ', '.join(f'{name} {value.item():.4g}' for name, value in terms.items())
        samples = self._batch.get('data_samples', ()) if isinstance(self._batch, Mapping) else ()
        images = [sample.get('img_path', '?') for sample in samples]
        last = runner.message_hub.runtime_info.get('last_ckpt')
        return (
            f'the loss of iteration {runner.iter + 1:,} is not finite ({values}) at a learning '
            f'rate of {rate:.3g}. The parameters did not take it. '
            + (f'Images of the batch: {listed(images, 16)}. ' if images else '')
            + (f'The last checkpoint is {last}. ' if last else 'There is no checkpoint yet. ')
            + 'Lower the learning rate, warm up longer, or train in fp32'
        )
