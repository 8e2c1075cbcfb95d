"""Each Triton kernel against PyTorch in float64. test_kernels.py runs these tests.

They run on a GPU, or on a CPU in Triton's interpreter (TRITON_INTERPRET=1). The interpreter takes
50 ms for a line of a convolution, so the maps are tiny.
"""

import os

import pytest
import torch

from convnext_mm import ConvNeXtBlock
from convnext_mm.ops import depthwise, gelu, kernel_choice, norm
from convnext_mm.ops.kernels import KERNELS
from convnext_mm.ops.kernels import depthwise as depthwise_kernels

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
DEVICE = 'cpu' if INTERPRETED else 'cuda'
# The largest relative rounding error. The interpreter truncates to bf16. A GPU rounds:
# test_kernels.py looks for the instruction.
ROUNDING = {
    torch.float32: 2e-6,
    torch.float16: 2**-11,
    torch.bfloat16: 2**-7 if INTERPRETED else 2**-8,
}
TYPES = pytest.mark.parametrize('dtype', ROUNDING, ids=str)


def image(*shape, dtype=torch.float32):
    x = torch.randn(shape, device=DEVICE).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


def vector(*shape, dtype=torch.float32):
    return torch.randn(shape, device=DEVICE).to(dtype)


def check(kernel, plain, *args):
    """Compare dtypes, shapes and layouts with PyTorch's results, and values with float64."""
    results, references, exact = kernel(*args), plain(*args), plain(*map(double, args))
    if not isinstance(results, tuple):
        results, references, exact = (results,), (references,), (exact,)
    for result, reference, expected in zip(results, references, exact, strict=True):
        if reference is None:
            assert result is None
            continue
        assert result.shape == reference.shape
        is_map = reference.dim() == 4 and reference.shape[1:] == args[0].shape[1:]
        layout = torch.channels_last if is_map else torch.contiguous_format
        assert result.is_contiguous(memory_format=layout)
        # Sums over the map stay in fp32; PyTorch rounds some of them.
        assert result.dtype in (reference.dtype, torch.float32)
        scale = expected.abs().max().item()
        torch.testing.assert_close(
            result.double(), expected, rtol=ROUNDING[result.dtype], atol=2e-6 * scale
        )


def double(value):
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.double()
    return torch.float64 if isinstance(value, torch.dtype) else value


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# --- depthwise


@pytest.fixture
def few_slots(monkeypatch):
    """Split 8 rows and 9 columns among four programs of four rows each."""
    monkeypatch.setattr(depthwise_kernels, 'SMS', 1)
    monkeypatch.setattr(depthwise_kernels, 'WARPS', 4)
    monkeypatch.setattr(depthwise_kernels, 'GRAD_WARPS', 4)


def test_the_convolution_with_rows_and_columns_split_among_programs(few_slots):
    args = image(1, 5, 8, 9), vector(5, 1, 7, 7), vector(5)
    check(KERNELS['depthwise_conv'], depthwise._conv, *args)


def test_the_convolution_with_parameters_that_are_views_of_larger_tensors():
    args = image(1, 5, 3, 5), vector(10, 1, 7, 7)[::2], vector(5, 2)[:, 1]
    check(KERNELS['depthwise_conv'], depthwise._conv, *args)


@TYPES
def test_the_convolution_in_every_dtype_with_channels_split_among_programs(dtype):
    weight, bias = vector(33, 1, 7, 7), vector(33)  # fp32 parameters, as in mixed precision
    args = image(2, 33, 1, 3, dtype=dtype), weight, bias
    check(KERNELS['depthwise_conv'], depthwise._conv, *args)


def test_the_data_gradient():
    maps = (image(1, 5, 3, 5) for _ in range(2))
    args = *maps, vector(5, 1, 7, 7)
    check(KERNELS['depthwise_data_grad'], depthwise._data_grad, *args)


def test_the_parameter_gradients_with_rows_and_columns_split_among_programs(few_slots):
    maps = (image(1, 5, 8, 9) for _ in range(2))
    args = *maps, vector(5, 1, 7, 7)
    check(KERNELS['depthwise_param_grads'], depthwise._param_grads, *args)


@TYPES
def test_the_parameter_gradients_in_every_dtype_with_channels_split_among_programs(dtype):
    maps = (image(1, 33, 2, 3, dtype=dtype) for _ in range(2))
    weight = vector(33, 1, 7, 7)
    check(KERNELS['depthwise_param_grads'], depthwise._param_grads, *maps, weight)


def test_the_parameter_gradients_with_several_images_in_one_program(monkeypatch):
    monkeypatch.setattr(depthwise_kernels, 'SMS', 1)
    monkeypatch.setattr(depthwise_kernels, 'GRAD_WARPS', 1)
    maps = (image(3, 5, 2, 3) for _ in range(2))
    check(KERNELS['depthwise_param_grads'], depthwise._param_grads, *maps, vector(5, 1, 7, 7))


# --- LayerNorm


@TYPES
@pytest.mark.parametrize(('rows', 'channels'), [(1, 40), (37, 96), (5, 192), (3, 2500)])
def test_layer_norm_and_its_gradients(dtype, rows, channels):
    x = vector(rows, channels, dtype=dtype) + 3
    weight, bias = vector(channels), vector(channels)
    check(KERNELS['layer_norm'], norm._layer_norm, x, weight, bias, 1e-6)
    _, mean, rstd = norm._layer_norm(x.float(), weight, bias, 1e-6)
    grad = vector(rows, channels, dtype=dtype)
    kernel = KERNELS['layer_norm_backward']
    check(kernel, norm._layer_norm_backward, grad, x, mean, rstd, weight, bias)


def test_the_layer_norm_gradients_with_several_row_tiles_in_one_program(monkeypatch):
    from convnext_mm.ops.kernels import norm as norm_kernels

    monkeypatch.setattr(norm_kernels, 'PROGRAMS', 2)
    x, weight, bias = vector(150, 96), vector(96), vector(96)
    _, mean, rstd = norm._layer_norm(x, weight, bias, 1e-6)
    kernel = KERNELS['layer_norm_backward']
    check(kernel, norm._layer_norm_backward, vector(150, 96), x, mean, rstd, weight, bias)


# --- GELU


@TYPES
@pytest.mark.parametrize('with_output', [True, False])
@pytest.mark.parametrize(('rows', 'channels'), [(1, 160), (300, 384), (5, 36)])
def test_the_gelu_gradient(dtype, with_output, rows, channels):
    hidden = 3 * vector(rows, channels, dtype=dtype)
    grad = vector(rows, channels, dtype=dtype)
    check(KERNELS['gelu_backward'], gelu._gelu_backward, grad, hidden, with_output)


# --- the block


@pytest.mark.parametrize(
    ('kind', 'dtype'),
    [
        (dict(layer_scale_init_value=1.0), torch.float16),  # layer scale is not merged in fp16
        (dict(layer_scale_init_value=0, grn=True), None),
    ],
    ids=str,
)
def test_a_block_with_all_kernels_equals_the_block_with_pytorch(kind, dtype, monkeypatch):
    def with_kernels(operation, in_pytorch, *args):
        used.add(operation)
        return KERNELS[operation](*args)

    def with_pytorch(operation, in_pytorch, *args):
        return in_pytorch(*args)

    used = set()
    block = ConvNeXtBlock(4, drop_path_rate=0.5, recompute='pointwise', **kind).to(DEVICE).train()
    x = image(3, 4, 2, 3)
    results = []
    for run in (with_kernels, with_pytorch):
        monkeypatch.setattr(kernel_choice, 'run', run)
        torch.manual_seed(2)  # draws that keep two of three samples
        x = x.detach().requires_grad_()
        with torch.autocast(DEVICE, dtype or torch.bfloat16, enabled=dtype is not None):
            out = block(x)
        out.square().sum().backward()
        results.append([out, x.grad, *(p.grad for p in block.parameters())])
        block.zero_grad()
    tolerance = 1e-5 if dtype is None else 5e-3
    for mine, expected in zip(*results):
        assert (mine - expected).norm() <= tolerance * expected.norm()
    assert used == KERNELS.keys() == set(kernel_choice.OPERATIONS)
