"""The Runner that loads a checkpoint which is already in memory."""

import weakref

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn

from convnext_mm.engine.runner import Runner


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


class Seen(Hook):
    def after_load_checkpoint(self, runner, checkpoint):
        self.keys = set(checkpoint)


@pytest.mark.filterwarnings('ignore:The distutils package')  # MMEngine imports it.
def test_a_held_content_is_loaded_once_shown_to_hooks_and_released(tmp_path):
    weights = {'module.layer.weight': torch.ones(2, 2), 'module.layer.bias': torch.zeros(2)}
    released = weakref.ref(weights['module.layer.weight'])
    runner = Runner(Model(), work_dir=str(tmp_path), load_from=str(tmp_path / 'none.pth'))
    hook = Seen()
    runner.register_hook(hook)
    runner.hold(dict(state_dict=weights, meta={}, optimizer={}, param_schedulers=[]))
    del weights
    runner.load_or_resume()
    assert hook.keys == {'state_dict', 'meta'}
    assert torch.equal(runner.model.layer.weight, torch.ones(2, 2))
    assert released() is None
    with pytest.raises(FileNotFoundError):
        runner.load_checkpoint(str(tmp_path / 'none.pth'))
