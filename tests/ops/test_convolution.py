"""The convolution operator, and the compiled backbone that calls it."""

import pytest
import torch

from convnext_mm import ConvNeXt, ConvNeXtBlock
from convnext_mm.ops import kernel_choice
from convnext_mm.ops.convolution import Conv2d

# Two stages have all kinds of layers.
SMALL = dict(
    arch=dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32)),
    out_indices=(0, 1),
    layer_scale_init_value=1.0,
)

CONVOLUTIONS = {
    'depthwise': Conv2d(4, 4, 7, padding=3, groups=4),
    'stem': Conv2d(4, 6, 4, stride=4),
    'downsampling': Conv2d(4, 6, 2, stride=2),
}


def settings(conv):
    return conv.weight, conv.bias, conv.stride[0], conv.padding[0], conv.groups


@pytest.mark.parametrize('conv', CONVOLUTIONS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format], ids=str)
def test_the_operator_fulfils_the_contract_of_custom_operators(conv, dtype, layout):
    x = torch.randn(2, 4, 8, 9).to(dtype).contiguous(memory_format=layout).requires_grad_()
    operator = torch.ops.convnext_mm.conv2d
    torch.library.opcheck(operator, (x, *settings(CONVOLUTIONS[conv])))
    torch.library.opcheck(operator, (x.detach(), *settings(CONVOLUTIONS[conv])))
    one = torch.randn(4 * 8 * 9).to(dtype).as_strided((1, 4, 8, 9), (1, 1, 36, 4))
    torch.library.opcheck(operator, (one, *settings(CONVOLUTIONS[conv])))


@pytest.mark.parametrize('conv', CONVOLUTIONS)
def test_the_operator_and_its_gradients_equal_the_convolution(conv):
    torch.manual_seed(0)
    conv = CONVOLUTIONS[conv]
    x = torch.randn(2, 4, 8, 9, requires_grad=True)
    results = []
    for out in (conv(x), torch.ops.convnext_mm.conv2d(x, *settings(conv))):
        wanted = (x, conv.weight, conv.bias)
        results.append((out, *torch.autograd.grad(out.square().sum(), wanted)))
    for mine, expected in zip(*results):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


def test_a_compiled_backbone_trains_on_every_size_and_calls_the_operator():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = ConvNeXt(**SMALL, compile=True).train()
    plain = ConvNeXt(**SMALL).train()
    plain.load_state_dict(model.state_dict())
    one = torch.randn(1, 3, 64, 96)  # a batch of one has a graph of its own
    with torch.no_grad():
        for mine, expected in zip(model(one), plain(one)):
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
    for turn, size in enumerate(((2, 64, 96), (2, 70, 101), (3, 128, 64))):
        x = torch.randn(size[0], 3, *size[1:])
        for backbone in (model, plain):
            with (
                torch.compiler.set_stance('fail_on_recompile' if turn else 'default'),
                torch.profiler.profile() as profile,
            ):
                outs = backbone(x)
                sum((out * out.detach().sin()).sum() for out in outs).backward()
            called = {event.key for event in profile.key_averages()}
            assert ('convnext_mm::conv2d_backward' in called) == (backbone is model)
        for (name, mine), expected in zip(model.named_parameters(), plain.parameters()):
            error = (mine.grad - expected.grad).norm() / expected.grad.norm().clamp_min(1e-3)
            assert error < 1e-4, name
        model.zero_grad()
        plain.zero_grad()


def test_the_operator_may_use_the_kernels(monkeypatch):
    def run(operation, in_pytorch, *args):
        found.append(operation)
        return in_pytorch(*args)

    found = []
    monkeypatch.setattr(kernel_choice, 'run', run)
    conv = Conv2d(4, 4, 7, padding=3, groups=4)
    x = torch.randn(2, 4, 8, 9, requires_grad=True)
    torch.ops.convnext_mm.conv2d(x, *settings(conv)).sum().backward()
    assert sorted(found) == ['depthwise_conv', 'depthwise_data_grad', 'depthwise_param_grads']


def compiled(layer, x):
    """Return the output of a compiled layer, and whether its graph contains the operator."""
    targets = []

    def look(graph, inputs):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    torch._dynamo.reset()
    out = torch.compile(layer, backend=look, fullgraph=True)(x)
    return out, any('convnext_mm' in target for target in targets)


@pytest.mark.parametrize(
    'settings',
    [
        dict(kernel_size=7, padding=3, padding_mode='reflect'),
        dict(kernel_size=7, padding=6, dilation=2),
        dict(kernel_size=(7, 5), padding=(3, 2)),
        dict(kernel_size=2, stride=(2, 1)),
        dict(kernel_size=7, padding='same'),
        dict(kernel_size=7, padding=3, bias=False),
    ],
    ids=str,
)
def test_other_settings_are_compiled_with_pytorchs_convolution(settings):
    conv = Conv2d(8, 8, groups=8, **settings)
    x = torch.randn(2, 8, 12, 12)
    out, has_operator = compiled(conv, x)
    torch.testing.assert_close(out, conv(x))
    assert not has_operator


def test_a_replaced_layer_is_compiled_as_it_is():
    block = ConvNeXtBlock(8)
    x = torch.randn(1, 8, 9, 9)
    assert compiled(block, x)[1]
    block.dwconv = torch.nn.Conv2d(8, 8, 7, padding=3, groups=4)
    out, has_operator = compiled(block, x)
    torch.testing.assert_close(out, block(x))
    assert not has_operator
