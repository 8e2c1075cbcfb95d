"""MMCV's RoIAlign ignores strides and reads memory as NCHW; our outputs must be contiguous."""

import pytest
import torch
from mmcv.ops import RoIAlign

from convnext_mm import ConvNeXt

SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))


def align(feature):
    rois = torch.tensor([[0, 3.0, 5.0, 50.0, 60.0], [1, 10.0, 0.0, 90.0, 40.0]])
    return RoIAlign(7, spatial_scale=0.25, sampling_ratio=2)(feature, rois)


@pytest.mark.parametrize('grn', [False, True], ids=['v1', 'v2'])
def test_roi_align_gives_the_same_values_and_gradients_for_our_outputs_and_a_plain_copy(grn):
    torch.manual_seed(0)
    model = ConvNeXt(dict(SMALL, grn=grn), out_indices=0)
    image = torch.randn(2, 3, 64, 96)
    gradients, values = [], []
    for copy in (False, True):
        (feature,) = model(image)
        if copy:
            # A copy through a list has no trace of the memory layout.
            plain = torch.tensor(feature.tolist(), requires_grad=True)
            crops = align(plain)
            direction = torch.linspace(-1, 1, crops.numel()).view_as(crops)
            (plain_grad,) = torch.autograd.grad((crops * direction).sum(), plain)
            loss = (feature * plain_grad).sum()
        else:
            crops = align(feature)
            loss = (crops * torch.linspace(-1, 1, crops.numel()).view_as(crops)).sum()
        model.zero_grad()
        loss.backward()
        values.append(crops.detach())
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_roi_align_still_ignores_strides():
    """When this fails, MMCV has fixed RoIAlign, and the backbone need not copy its outputs."""
    feature = torch.randn(2, 8, 16, 24)
    wrong = align(feature.contiguous(memory_format=torch.channels_last))
    assert not torch.allclose(wrong, align(feature))
