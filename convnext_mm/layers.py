"""The layers a ConvNeXt block needs beyond plain torch: LayerNorm2d, GRN, stochastic depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRN_EPS = 1e-6  # added to the mean norm


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an (N, C, H, W) map.

    ``F.layer_norm`` accumulates mean and variance in fp32 whatever the input's type; written out
    by hand in the channels-first layout, as in the authors' code, fp16 squares overflow. In mixed
    precision it computes in fp32, which autocast sees to on a GPU alone: on a CPU the parameters'
    gradients are added up in the map's type, and a sum of ones ends at 512 in bf16.
    On a channels-last map the two permutes are views, not copies.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).to(self.weight.dtype)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global Response Normalization of an (N, H, W, C) tensor (ConvNeXt V2, section 3.2).

    Each channel is scaled by its spatial L2 norm over the mean norm of all channels. A sum of
    squares over a whole map leaves fp16's range and a strong channel's ratio can reach C, so
    everything here is done in fp32 and the result cast back to the input's type.

    Args:
        dim: Number of channels C. The parameters are 1x1x1xC, as in the authors' files.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        # Autocast narrows none of these operations. float64 stays float64, so that gradients can be
        # checked numerically.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        norm = torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True)
        ratio = norm / (norm.mean(dim=-1, keepdim=True) + GRN_EPS)
        return (wide * (1 + self.gamma * ratio) + self.beta).to(x.dtype)


def drop_path(residual: Tensor, rate: float) -> Tensor:
    """Stochastic depth: zero whole samples with probability `rate`, scale the rest by 1/(1-rate).

    Args:
        residual: Output of a residual branch, (N, ...).
        rate: Drop probability in [0, 1). Nothing happens at 0.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016; per sample as in timm.
    """
    if rate == 0.0:
        return residual
    keep = 1.0 - rate
    shape = (residual.shape[0],) + (1,) * (residual.ndim - 1)
    return residual * residual.new_empty(shape).bernoulli_(keep).div_(keep)
