"""The layers of ConvNeXt that torch does not have: LayerNorm2d, GRN, stochastic depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6
# The value of the paper. A pretrained checkpoint overwrites it.
V1_LAYER_SCALE = 1e-6
GRN_EPS = 1e-6  # added to the mean norm


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an (N, C, H, W) map.

    On a channels-last map the two permutes are views, not copies.

    ``F.layer_norm`` accumulates mean and variance in fp32 for every dtype. The authors' code
    computes them in the dtype of the map, where squares overflow in fp16. The map is cast to the
    dtype of the parameters, because autocast does so on a GPU only. On a CPU, PyTorch would sum the
    parameter gradients in the dtype of the map, and a sum of ones in bf16 stops growing after a few
    hundred.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).to(self.weight.dtype)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global Response Normalization of an (N, H, W, C) tensor (ConvNeXt V2, section 3.2).

    Each channel is multiplied by the ratio of its spatial L2 norm to the mean norm of all channels.
    The sum of squares over a map exceeds the range of fp16, and the ratio of a strong channel can
    reach C. All is therefore computed in fp32 and cast back to the dtype of the input.

    Args:
        dim: Number of channels C. The parameters have the shape (1, 1, 1, C) of the authors' files.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        # Autocast casts none of these operations. float64 stays float64 for gradcheck.
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        norm = torch.linalg.vector_norm(values, dim=(1, 2), keepdim=True)
        ratio = norm / (norm.mean(dim=-1, keepdim=True) + GRN_EPS)
        return (values * (1 + self.gamma * ratio) + self.beta).to(x.dtype)


def drop_path(residual: Tensor, rate: float) -> Tensor:
    """Stochastic depth: zero samples with probability `rate`, scale the others by 1 / (1 - rate).

    Args:
        residual: Output of a residual branch, (N, ...).
        rate: Drop probability in [0, 1). At 0 the input is returned.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016. Each sample has its own
    draw, as in timm.
    """
    if rate == 0.0:
        return residual
    keep = 1.0 - rate
    shape = (residual.shape[0],) + (1,) * (residual.ndim - 1)
    return residual * residual.new_empty(shape).bernoulli_(keep).div_(keep)
