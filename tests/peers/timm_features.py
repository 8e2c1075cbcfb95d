"""Stage features of timm's ConvNeXt on given weights; run apart from the tests, see test_parity.py.

    python timm_features.py IN.pt OUT.pt

IN holds ``name`` of timm's model, ``state`` with the authors' names and ``image``; OUT gets the
list of the four stages' outputs, not normed.
"""

import re
import sys

import torch

# timm imports torchvision, whose compiled part fits one build of torch only and is not there;
# declaring its operators is enough for everything but detection.
library = torch.library.Library('torchvision', 'DEF')
for name in ('nms', 'qnms'):
    library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')

import timm  # noqa: E402

RENAMES = (
    (r'^downsample_layers\.0\.', 'stem.'),
    (r'^downsample_layers\.(\d)\.', r'stages.\1.downsample.'),
    (r'^stages\.(\d)\.(\d+)\.', r'stages.\1.blocks.\2.'),
    ('dwconv', 'conv_dw'),
    ('pwconv', 'mlp.fc'),
    ('grn.gamma', 'mlp.grn.weight'),
    ('grn.beta', 'mlp.grn.bias'),
)


def main() -> None:
    given = torch.load(sys.argv[1])
    model = timm.create_model(given['name'], num_classes=0).eval()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    state = {}
    for name, value in given['state'].items():
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        # timm has GRN's parameters flat, and 1x1 convolutions for linears in its small models.
        state[name] = value.reshape(shapes[name])
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith('head.') for name in missing), missing
    with torch.no_grad():
        features = model.forward_intermediates(given['image'], intermediates_only=True)
    torch.save(features, sys.argv[2])


if __name__ == '__main__':
    main()
