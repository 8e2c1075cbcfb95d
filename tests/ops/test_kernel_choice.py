"""The table of the operations that run our kernels. The device is the meta device, as there may be
no GPU: only the question for a GPU is replaced."""

import sys
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from convnext_mm.errors import SettingError
from convnext_mm.ops import depthwise, kernel_choice
from convnext_mm.ops.kernel_choice import OPERATIONS, chosen_operations


def test_every_gpu_runs_pytorch_until_one_is_measured():
    assert kernel_choice.FASTER == {}
    assert chosen_operations((9, 0), '') == frozenset()


@pytest.mark.parametrize(
    ('setting', 'chosen'),
    [
        ('', {'layer_norm'}),
        ('all', set(OPERATIONS)),
        ('none', set()),
        ('gelu_backward,depthwise_conv', {'gelu_backward', 'depthwise_conv'}),
    ],
)
def test_the_environment_overrides_the_table(setting, chosen, monkeypatch):
    monkeypatch.setitem(kernel_choice.FASTER, (9, 0), frozenset({'layer_norm'}))
    assert chosen_operations((9, 0), setting) == chosen


def test_an_unknown_operation_is_refused_with_the_allowed_ones():
    with pytest.raises(SettingError, match=r"KERNELS='gelu'.*allowed are all, none.*gelu_backward"):
        chosen_operations((9, 0), 'gelu')


import_kernels = kernel_choice._kernels


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


@pytest.fixture
def kernels(monkeypatch):
    """The kernels by operation; all of them are chosen."""
    found = {}
    monkeypatch.setattr(kernel_choice, '_kernels', lambda: found)
    monkeypatch.setattr(kernel_choice, '_failed', set())
    monkeypatch.setattr(kernel_choice, '_chosen_on', lambda device: frozenset(OPERATIONS))
    monkeypatch.setattr(kernel_choice, '_TENSOR_TYPES', (OnGpu,))
    monkeypatch.setattr(torch.cuda, 'device', lambda device: warnings.catch_warnings())
    return found


def run(dtype=torch.float32, operation='layer_norm'):
    x = torch.ones(2, 3, dtype=dtype).as_subclass(OnGpu)
    return kernel_choice.run(operation, lambda x: 'PyTorch', x)


def test_a_chosen_kernel_runs(kernels):
    kernels['layer_norm'] = lambda x: 'kernel'
    assert run() == 'kernel'
    assert run(torch.float64) == 'PyTorch'


def test_a_kernel_that_fails_is_named_once_and_not_tried_again(kernels):
    def broken(x):
        raise RuntimeError('no C compiler\nat line 7')

    kernels['layer_norm'], kernels['gelu_backward'] = broken, lambda x: 'kernel'
    with pytest.warns(UserWarning, match=r'layer_norm in PyTorch.*\(RuntimeError: no C compiler\)'):
        assert run() == 'PyTorch'
    with warnings.catch_warnings(action='error'):
        assert run() == 'PyTorch'
        assert run(operation='gelu_backward') == 'kernel'


def test_a_kernel_without_memory_is_an_error(kernels):
    def full(x):
        raise torch.OutOfMemoryError('2 GiB')

    kernels['layer_norm'] = full
    with pytest.raises(torch.OutOfMemoryError):
        run()


def test_a_missing_triton_is_named_in_a_warning(kernels, monkeypatch):
    monkeypatch.setattr(kernel_choice, '_kernels', import_kernels)
    monkeypatch.setitem(sys.modules, 'convnext_mm.ops.kernels', None)
    with pytest.warns(UserWarning, match=r'layer_norm in PyTorch.*ModuleNotFoundError'):
        assert run() == 'PyTorch'


@pytest.mark.parametrize('x', [torch.ones(2, 3), torch.ones(2, 3, device='meta')], ids=str)
def test_kernels_run_on_a_gpu_only(x):
    assert kernel_choice.run('layer_norm', lambda x: x, x) is x


def test_kernels_do_not_run_on_a_fake_tensor():
    with FakeTensorMode():
        x = torch.ones(2, 3, device='cuda')
        assert x.is_cuda
        assert kernel_choice.run('layer_norm', lambda x: x, x) is x


@pytest.mark.parametrize(
    ('layout', 'size', 'found'),
    [
        (torch.channels_last, 7, list(OPERATIONS[:3])),
        (torch.channels_last, 5, []),
        (torch.contiguous_format, 7, []),
    ],
    ids=str,
)
def test_kernels_are_for_7x7_and_channels_last_maps_only(layout, size, found, monkeypatch):
    def record(operation, in_pytorch, *args):
        asked.append(operation)
        return in_pytorch(*args)

    asked = []
    monkeypatch.setattr(kernel_choice, 'run', record)
    x = torch.randn(2, 4, 8, 9).contiguous(memory_format=layout)
    weight = torch.randn(4, 1, size, size)
    depthwise.depthwise_conv(x, weight, None)
    depthwise.depthwise_data_grad(x, x, weight)
    depthwise.depthwise_param_grads(x, x, weight)
    assert asked == found
