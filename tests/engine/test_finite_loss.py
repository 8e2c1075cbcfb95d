"""A loss that is no number stops the training before the parameters take it."""

import pytest
import torch
from mmengine.config import Config

from convnext_mm.engine.hooks.finite_loss import FiniteLossHook
from convnext_mm.engine.runner import Runner
from convnext_mm.errors import DivergedError
from tests.engine.test_resume_exactly import pytestmark  # noqa: F401
from tests.engine.toy_training import KillHook, NoisyModel, config


@pytest.mark.parametrize('value', ['nan', 'inf'])
def test_a_loss_that_is_not_finite_stops_the_training_and_is_explained(
    value, tmp_path, monkeypatch
):
    runner = Runner.from_cfg(Config(dict(config(tmp_path), experiment_name=f'diverged_{value}')))
    runner.register_hook(KillHook(None, {}))
    runner.register_hook(FiniteLossHook())
    forward = NoisyModel.forward
    before = {}

    def diverge(self, inputs, mode='tensor'):
        out = forward(self, inputs, mode)
        if mode == 'loss' and runner.iter == 4:
            before.update({n: v.clone() for n, v in self.named_parameters()})
            out['loss_b'] = out.pop('loss') * float(value)
        return out

    monkeypatch.setattr(NoisyModel, 'forward', diverge)
    with pytest.raises(DivergedError) as raised:
        runner.train()
    message = str(raised.value)
    assert 'the loss of iteration 5 is not finite' in message and f'loss_b {value}' in message
    assert 'learning rate of 0.00' in message and str(tmp_path / 'iter_4.pth') in message
    after = dict(runner.model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
