"""The ConvNeXts of timm and their maps; see common.py.

The small models store linear layers as 1x1 convolutions, tiny_hnf has its last norm elsewhere, and
a ``features_only`` model has other names. The image tower of OpenCLIP is a timm model.
"""

import torch
from common import FOLDER, NARROW, image, leave, randomise
from safetensors.torch import save_file

# After common, which declares operators of torchvision.
import timm  # isort: skip

MODELS = {
    'timm_tiny': dict(model_name='convnext_tiny'),
    'timm_small': dict(model_name='convnext_small', num_classes=0, dims=NARROW),
    'timm_atto': dict(model_name='convnext_atto'),
    'timm_hnf': dict(model_name='convnext_tiny_hnf', dims=NARROW),
    'timm_large_mlp': dict(model_name='convnext_large_mlp', dims=NARROW),
    'timm_v2_tiny': dict(model_name='convnextv2_tiny'),
    'timm_v2_small': dict(model_name='convnextv2_small', dims=NARROW),
    'timm_v2_atto': dict(model_name='convnextv2_atto'),
    'timm_features_only': dict(model_name='convnextv2_atto', features_only=True),
}


def main() -> None:
    for case, arguments in MODELS.items():
        model = randomise(timm.create_model(**arguments))
        with torch.no_grad():
            if 'features_only' in arguments:
                features = model(image())
            else:
                features = model.forward_intermediates(image(), intermediates_only=True)
        save_file(model.state_dict(), FOLDER / f'{case}.safetensors')
        leave(case, features)
        if case == 'timm_small':
            # CLIP with a TimmModel: open_clip, src/open_clip/timm_model.py and model.py.
            clip = {f'visual.trunk.{name}': v for name, v in model.state_dict().items()}
            clip['visual.head.proj.weight'] = torch.zeros(64, 192)
            clip['logit_scale'] = torch.ones(())
            clip['text.transformer.resblocks.0.ln_1.weight'] = torch.ones(64)
            torch.save(clip, FOLDER / 'open_clip.pt')
            leave('open_clip', features)


if __name__ == '__main__':
    main()
