"""The ConvNeXts of MMPretrain and their maps; see common.py.

The only norm of a classifier is for pooled features. The backbone of an MMDetection 3.x or
MMSegmentation 1.x model has a norm for each map.
"""

import importlib_metadata
import torch
from common import DEEP, FOLDER, NARROW, image, leave, randomise
from torch import nn


def no_transformers(name: str, find=importlib_metadata.distribution) -> object:
    if name == 'transformers':
        raise importlib_metadata.PackageNotFoundError(name)
    return find(name)


# If transformers is installed, MMPretrain imports multimodal models, which its current version
# breaks.
importlib_metadata.distribution = no_transformers
from mmpretrain.models import ConvNeXt, LinearClsHead  # noqa: E402

V2 = dict(use_grn=True, layer_scale_init_value=0.0)
SMALL = dict(depths=DEEP, channels=NARROW)


class Model(nn.Module):
    """A backbone and other modules."""

    def __init__(self, beside: dict[str, nn.Module], **arguments) -> None:
        super().__init__()
        self.backbone = ConvNeXt(gap_before_final_norm=False, **arguments)
        for name, module in beside.items():
            self.add_module(name, module)


def main() -> None:
    maps = dict(out_indices=(0, 1, 2, 3))
    detector = dict(neck=nn.Conv2d(8, 8, 1), rpn_head=nn.Conv2d(8, 8, 1))
    models = {
        'mmpretrain_tiny': Model(dict(head=LinearClsHead(10, 768)), arch='tiny'),
        'mmpretrain_small_detector': Model(detector, arch=SMALL, **maps),
        'mmpretrain_v2_atto': Model(dict(head=LinearClsHead(10, 320)), arch='atto', **V2),
        'mmpretrain_v2_small_detector': Model(detector, arch=SMALL, **V2, **maps),
    }
    for case, model in models.items():
        randomise(model)
        meta = dict(epoch=1, dataset_meta=dict(classes=['a']))
        torch.save(dict(meta=meta, state_dict=model.state_dict()), FOLDER / f'{case}.pth')
        backbone = model.backbone
        with torch.no_grad():
            if 'detector' in case:
                leave(case, backbone(image()), normed=True)
            else:
                features, x = [], image()
                for downsample, stage in zip(backbone.downsample_layers, backbone.stages):
                    x = stage(downsample(x))
                    features.append(x)
                leave(case, features)


if __name__ == '__main__':
    main()
