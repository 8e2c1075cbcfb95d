"""The ConvNexts of transformers and their maps; see common.py.

Backbone classes normalise their maps, other classes do not. DINOv3 also normalises its last map.
"""

import torch
from common import DEEP, FOLDER, NARROW, image, leave, randomise
from transformers import (
    ConvNextBackbone,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextV2Backbone,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    ConvNextV2Model,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
)

STAGES = ['stage1', 'stage2', 'stage3', 'stage4']
SMALL = dict(depths=DEEP, hidden_sizes=NARROW)
ATTO = dict(depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320])

MODELS = {
    'hf_tiny': lambda: ConvNextForImageClassification(ConvNextConfig()),
    'hf_small_backbone': lambda: ConvNextBackbone(ConvNextConfig(**SMALL, out_features=STAGES)),
    'hf_v2_atto': lambda: ConvNextV2ForImageClassification(ConvNextV2Config(**ATTO)),
    'hf_v2_small': lambda: ConvNextV2Model(ConvNextV2Config(**SMALL)),
    'hf_v2_atto_backbone': lambda: ConvNextV2Backbone(
        ConvNextV2Config(**ATTO, out_features=STAGES)
    ),
    'hf_dinov3_tiny': lambda: DINOv3ConvNextModel(DINOv3ConvNextConfig()),
    'hf_dinov3_small': lambda: DINOv3ConvNextModel(DINOv3ConvNextConfig(**SMALL)),
}


def main() -> None:
    for case, build in MODELS.items():
        model = randomise(build())
        model.save_pretrained(FOLDER / case)
        (FOLDER / case / 'model.safetensors').rename(FOLDER / f'{case}.safetensors')
        with torch.no_grad():
            out = model(image(), output_hidden_states=True)
        if 'backbone' in case:
            leave(case, out.feature_maps, normed=True)
        elif 'dinov3' in case:
            # The tokens are the pooled one and those of the last map, all normalised.
            *maps, last = out.hidden_states[1:]
            tokens = out.last_hidden_state[:, 1:].transpose(1, 2)
            leave(case, [*maps, last, tokens.reshape(last.shape)])
        else:
            leave(case, out.hidden_states[1:])


if __name__ == '__main__':
    main()
