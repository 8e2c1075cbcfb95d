"""Functions for the scripts that run the ConvNeXts of other projects; see test_parity.py.

Each script runs alone, as ``python SCRIPT FOLDER``, with the other project on the path. For each
case it writes a weights file, as that project does, and ``<case>.features``: an image and the maps
of the project for it.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

FOLDER = Path(sys.argv[1])

# The depths of `small`, `base` and larger variants, with fewer channels.
DEEP = [3, 3, 27, 3]
NARROW = [24, 48, 96, 192]

# timm, transformers and MMPretrain import torchvision. Its compiled part fits only one build of
# torch and is not installed. Only detection needs more than these declarations.
library = torch.library.Library('torchvision', 'DEF')
for name in ('nms', 'qnms'):
    library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')


def randomise(model: nn.Module) -> nn.Module:
    """Set random values, so each parameter matters.

    The initial layer scale is almost zero and GRN starts at zero; both would have no effect.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.squeeze().ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(std=fan_in**-0.5)
            else:
                parameter.normal_(0.5, 0.5)
    return model.eval()


def image() -> Tensor:
    """Return a batch with sides that no stride divides."""
    return torch.randn(2, 3, 70, 101, generator=torch.Generator().manual_seed(1))


def leave(case: str, features: list[Tensor], normed: bool = False) -> None:
    """Save the maps of a case; `normed` says whether the project normalised them."""
    content = dict(image=image(), features=list(features), normed=normed)
    torch.save(content, FOLDER / f'{case}.features')
