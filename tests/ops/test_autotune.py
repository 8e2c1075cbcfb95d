"""The choice between implementations, with functions that take different times."""

import sys
import time
import warnings

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from convnext_mm.ops import autotune, depthwise, residual


def _double(x: Tensor) -> Tensor:
    time.sleep(2e-3)
    return x * 2


def quick(x):
    return x + x


def slow(x):
    time.sleep(8e-3)
    return x + x


def wrong(x):
    return x * 2.1


def not_a_number(x):
    return x * float('nan')


def broken(x):
    raise RuntimeError('no C compiler\nat line 7')


def out_of_memory(x):
    raise torch.OutOfMemoryError('2 GiB')


@pytest.fixture
def kernels(monkeypatch):
    """The list of kernels for `_double`, with an empty cache of choices."""
    found = []
    monkeypatch.setattr(autotune, '_kernels', lambda: {'double': found})
    monkeypatch.setattr(autotune, '_chosen', {})
    monkeypatch.setattr(autotune, '_unusable', set())
    # The function fails in a CPU build of PyTorch.
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    return found


def chosen(n=2, channels=3, dtype=torch.float32):
    return autotune._choose(_double, [torch.ones(n, channels, dtype=dtype)])


@pytest.mark.parametrize('order', [(slow, quick), (quick, slow)])
def test_the_fastest_is_chosen(kernels, order):
    kernels += order
    assert chosen() is quick


def test_pytorch_is_chosen_where_it_is_faster(kernels):
    kernels += [slow]
    assert chosen() is _double


def test_equal_channels_dtypes_and_size_groups_are_measured_once(kernels):
    kernels += [quick]
    assert chosen(n=100) is quick
    kernels[:] = [slow]  # a second measurement would choose another function
    assert chosen(n=100) is chosen(n=120) is quick
    assert chosen(n=800) is _double
    assert chosen(n=100, channels=4) is _double
    assert chosen(n=100, dtype=torch.bfloat16) is _double


def test_a_multi_scale_recipe_measures_at_most_three_times():
    maps = [(2, 96, short // 4, 1333 // 4) for short in range(480, 801, 32)]
    maps += [(1, *shape[1:]) for shape in maps]  # stochastic depth dropped a sample
    keys = {autotune._key(_double, [torch.empty(shape, device='meta')]) for shape in maps}
    assert len(keys) <= 3


@pytest.mark.parametrize(
    ('kernel', 'reason'),
    [
        (broken, r'broken is not used \(RuntimeError: no C compiler\)'),
        (wrong, r"wrong is not used \(its result differs from PyTorch's by 5\.0%\)"),
        (not_a_number, "its result differs from PyTorch's"),
    ],
)
def test_a_kernel_that_fails_is_named_once_and_not_tried_again(kernels, kernel, reason):
    kernels += [kernel, slow]
    with pytest.warns(UserWarning, match=reason):
        assert chosen() is _double
    with warnings.catch_warnings(action='error'):
        assert chosen(channels=5) is _double


def test_pytorch_is_chosen_if_the_measurement_runs_out_of_memory(kernels):
    kernels += [quick, out_of_memory]
    assert chosen() is _double
    kernels[:] = [quick]
    assert chosen() is _double


def test_a_result_that_is_not_finite_uses_pytorch_once(kernels):
    kernels += [quick]
    overflow = torch.full((2, 3), float('inf'))
    assert autotune._choose(_double, [overflow]) is _double
    assert chosen() is quick


def test_nothing_is_measured_while_a_graph_is_captured(kernels, monkeypatch):
    kernels += [quick]
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
        assert chosen() is _double
    assert chosen() is quick
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    assert chosen() is quick


def test_deterministic_runs_do_not_depend_on_times(kernels):
    kernels += [slow, quick]
    torch.use_deterministic_algorithms(True)
    try:
        assert chosen() is slow
    finally:
        torch.use_deterministic_algorithms(False)
    assert chosen() is quick


def test_several_results_are_all_compared():
    def plain(x):
        return None, x, x + 1

    def kernel(x):
        return None, x, x + 2

    with pytest.warns(UserWarning, match="differs from PyTorch's"):
        assert autotune.fastest(plain, [kernel], [torch.ones(3)]) is plain


def test_a_missing_triton_is_named_in_one_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, 'convnext_mm.ops.kernels', None)
    monkeypatch.setattr(autotune, '_loaded_kernels', None)
    with pytest.warns(UserWarning, match=r"PyTorch's kernels: no Triton kernels \(.*Error"):
        assert autotune._kernels() == {}
    assert autotune._kernels() == {}  # warned once, also if warnings are errors


def test_a_kernel_that_fails_in_one_dtype_is_used_in_others(kernels):
    def bf16_only(x):
        assert x.dtype == torch.bfloat16
        return _double(x)

    kernels += [bf16_only]
    with pytest.warns(UserWarning):
        chosen()
    assert (bf16_only, torch.float32) in autotune._unusable
    assert (bf16_only, torch.bfloat16) not in autotune._unusable


@pytest.mark.parametrize('x', [torch.ones(2, 3), torch.ones(2, 3, device='meta')], ids=str)
def test_kernels_are_used_on_a_gpu_only(kernels, x):
    kernels += [broken]
    assert autotune.run_fastest(_double, x).shape == x.shape


def test_kernels_are_not_used_for_a_fake_tensor_on_a_gpu(kernels):
    kernels += [broken]
    with FakeTensorMode():
        x = torch.ones(2, 3, device='cuda')
        assert x.is_cuda
        assert autotune.run_fastest(_double, x).shape == (2, 3)


@pytest.mark.parametrize(
    ('layout', 'size', 'tuned'),
    [
        (
            torch.channels_last,
            7,
            ['_conv', '_data_grad', '_param_grads', '_gather_samples', '_add_residual'],
        ),
        (torch.channels_last, 5, ['_gather_samples', '_add_residual']),
        (torch.contiguous_format, 7, []),
    ],
    ids=str,
)
def test_kernels_are_used_for_7x7_and_channels_last_maps_only(layout, size, tuned, monkeypatch):
    def run(plain, *args):
        found.append(plain.__name__)
        return plain(*args)

    found = []
    monkeypatch.setattr(autotune, 'run_fastest', run)
    x = torch.randn(2, 4, 8, 9).contiguous(memory_format=layout)
    weight, kept = torch.randn(4, 1, size, size), torch.tensor([1])
    depthwise.depthwise_conv(x, weight, None)
    depthwise.depthwise_data_grad(x, x, weight)
    depthwise.depthwise_param_grads(x, x, weight)
    residual.add_residual(
        x, residual.gather_samples(x, kept, torch.float32).contiguous(memory_format=layout), kept
    )
    assert found == tuned
