"""What the scripts that run other projects' ConvNeXts share; see tests/weights/test_parity.py.

Each is run on its own, ``python SCRIPT FOLDER``, with the other project on the path. For every case
it leaves in the folder a weights file, written as that project writes one, and ``<case>.features``:
the image and the project's own maps for it.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

FOLDER = Path(sys.argv[1])

# The depths of `small`, `base` and larger ones, at a fraction of their size.
DEEP = [3, 3, 27, 3]
NARROW = [24, 48, 96, 192]

# timm, transformers and MMPretrain import torchvision, whose compiled part fits one build of torch
# only and is not there; declaring its operators is enough for everything but detection.
library = torch.library.Library('torchvision', 'DEF')
for name in ('nms', 'qnms'):
    library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')


def randomise(model: nn.Module) -> nn.Module:
    """Fill in values under which every parameter matters; some initial ones do nothing.

    Layer scale starts next to zero and GRN at zero, which switches residual branches and GRN off.
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
    """A batch whose sides leave a remainder at each stride."""
    return torch.randn(2, 3, 70, 101, generator=torch.Generator().manual_seed(1))


def leave(case: str, features: list[Tensor], normed: bool = False) -> None:
    """Save the maps of a case; `normed` says that they went through the project's own norms."""
    content = dict(image=image(), features=list(features), normed=normed)
    torch.save(content, FOLDER / f'{case}.features')
