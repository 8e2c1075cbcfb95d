"""The gradients of the depthwise convolution against PyTorch."""

import pytest
import torch

from convnext_mm.ops import depthwise
from convnext_mm.ops.depthwise import depthwise_conv, depthwise_data_grad, depthwise_weight_grad


@pytest.mark.parametrize('size', [(2, 6, 9, 12), (1, 3, 5, 1), (3, 4, 1, 8)], ids=str)
@pytest.mark.parametrize('kernel', [7, 5])
@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format], ids=str)
def test_the_gradients_equal_pytorchs(size, kernel, layout):
    torch.manual_seed(0)
    x = torch.randn(size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(size[1], 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    out = depthwise_conv(x, weight, None)
    grad = torch.randn_like(out)
    data, kernels = torch.autograd.grad(out, (x, weight), grad)
    with torch.no_grad():
        torch.testing.assert_close(depthwise_data_grad(grad, x, weight), data)
        torch.testing.assert_close(depthwise_weight_grad(grad, x, weight), kernels)


def test_the_gradient_is_computed_without_cudnn_where_it_has_no_engine(monkeypatch):
    def backward(*args):
        if torch.backends.cudnn.enabled:
            raise RuntimeError('GET was unable to find an engine to execute this computation')
        return convolution_backward(*args)

    convolution_backward = torch.ops.aten.convolution_backward
    x, weight = torch.randn(1, 4, 8, 9), torch.randn(4, 1, 5, 5)
    expected = depthwise_weight_grad(x, x, weight)
    monkeypatch.setattr(depthwise.torch.ops.aten, 'convolution_backward', backward)
    torch.testing.assert_close(depthwise_weight_grad(x, x, weight), expected)
    assert torch.backends.cudnn.enabled
