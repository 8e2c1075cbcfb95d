"""The ConvNeXts of torchvision and their maps; see common.py."""

import torch
from common import DEEP, FOLDER, NARROW, image, leave, randomise

# After common, which declares operators of torchvision.
from torchvision.models.convnext import CNBlockConfig, ConvNeXt, convnext_tiny  # isort: skip

SMALL = map(CNBlockConfig, NARROW, [*NARROW[1:], None], DEEP)


def main() -> None:
    models = dict(torchvision_tiny=convnext_tiny(), torchvision_small=ConvNeXt(list(SMALL)))
    for case, model in models.items():
        randomise(model)
        torch.save(model.state_dict(), FOLDER / f'{case}.pth')
        features, x = [], image()
        with torch.no_grad():
            for i, layer in enumerate(model.features):
                x = layer(x)
                if i % 2:  # The others are stem and downsampling.
                    features.append(x)
        leave(case, features)


if __name__ == '__main__':
    main()
