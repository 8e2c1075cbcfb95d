"""The published weights: a short name for each file, with its origin and licence.

Sources: the tables in the README files of facebookresearch/ConvNeXt (its ``object_detection`` and
``semantic_segmentation`` included), facebookresearch/ConvNeXt-V2 and facebookresearch/dinov3;
``torchvision/models/convnext.py``. Models of timm need no list: their address is ``timm://name``.

A short name follows the name of the file: ``_ema`` at the end is a moving average of the weights,
``_384`` an image size other than 224.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

MIT = 'MIT'
BSD = 'BSD-3-Clause'
NON_COMMERCIAL = 'CC-BY-NC-4.0'
DINOV3_LICENCE = 'DINOv3 License'

_FACEBOOK = 'https://dl.fbaipublicfiles.com/convnext'


@dataclass(frozen=True)
class Weights:
    """A published file.

    Attributes:
        source: A URL or ``hf://`` id.
        format: Name of a format in :mod:`convnext_mm.weights.names`.
        arch: A name in :data:`convnext_mm.ARCHS`.
        trained_on: The data sets in the order of training, and the method if not supervised.
        licence: The licence of the weights.
        ema: Whether it is a moving average. The authors fine-tune from other files.
        top1: ImageNet-1K accuracy in percent that the authors publish for this file, if any.
        how_to_get: What to do before a gated file can be downloaded; empty for other files.
    """

    source: str
    format: str
    arch: str
    trained_on: str
    licence: str
    ema: bool = False
    top1: float | None = None
    how_to_get: str = ''

    @property
    def image_size(self) -> int:
        """The side in pixels of the images that a classifier was trained on last."""
        sizes = re.findall(r'_(224|384|512)(?=[_.])', self.source)
        return int(sizes[-1]) if sizes else 224


def similar_names(name: str) -> list[str]:
    """Return the short names that are most similar to a wrong one."""
    return get_close_matches(name, ZOO, n=3, cutoff=0.5)


def _v1(arch: str, rest: str, trained_on: str, top1: float | None = None) -> Weights:
    url = f'{_FACEBOOK}/convnext_{arch}_{rest}.pth'
    return Weights(url, 'official', arch, trained_on, MIT, rest.endswith('_ema'), top1)


def _v2(arch: str, rest: str, trained_on: str, top1: float) -> Weights:
    url = f'{_FACEBOOK}/convnextv2/im{rest.split("_")[0]}/convnextv2_{arch}_{rest}_ema.pt'
    return Weights(url, 'official', f'v2_{arch}', trained_on, NON_COMMERCIAL, True, top1)


def _fcmae(arch: str) -> Weights:
    url = f'{_FACEBOOK}/convnextv2/pt_only/convnextv2_{arch}_1k_224_fcmae.pt'
    return Weights(url, 'official', f'v2_{arch}', f'{IN1K}, masked autoencoding', NON_COMMERCIAL)


def _dinov3(arch: str) -> Weights:
    repo = f'facebook/dinov3-convnext-{arch}-pretrain-lvd1689m'
    return Weights(
        f'hf://{repo}',
        'hf_dinov3',
        arch,
        'LVD-1689M, distilled from the self-supervised DINOv3 ViT-7B',
        DINOV3_LICENCE,
        how_to_get=f'accept the licence at https://huggingface.co/{repo}, then log in with '
        '`hf auth login` or set HF_TOKEN; or download model.safetensors there and give its path',
    )


def _torchvision(arch: str, checksum: str) -> Weights:
    url = f'https://download.pytorch.org/models/convnext_{arch}-{checksum}.pth'
    return Weights(url, 'torchvision', arch, IN1K, BSD, ema=True)


def _finetuned(arch: str, file: str, trained_on: str) -> Weights:
    return Weights(f'{_FACEBOOK}/{file}.pth', 'official', arch, trained_on, MIT)


IN1K = 'ImageNet-1K'
IN22K = 'ImageNet-22K'
_BOTH = f'{IN22K}, {IN1K}'

ZOO: Mapping[str, Weights] = MappingProxyType(
    {
        # V1, classifiers. The COCO and ADE20K recipes start from the first three and from in22k.
        'convnext_tiny_in1k': _v1('tiny', '1k_224', IN1K),
        'convnext_small_in1k': _v1('small', '1k_224', IN1K),
        'convnext_base_in1k': _v1('base', '1k_224', IN1K),
        'convnext_tiny_in1k_ema': _v1('tiny', '1k_224_ema', IN1K, 82.1),
        'convnext_small_in1k_ema': _v1('small', '1k_224_ema', IN1K, 83.1),
        'convnext_base_in1k_ema': _v1('base', '1k_224_ema', IN1K, 83.8),
        'convnext_large_in1k_ema': _v1('large', '1k_224_ema', IN1K, 84.3),
        'convnext_base_in1k_384': _v1('base', '1k_384', IN1K, 85.1),
        'convnext_large_in1k_384': _v1('large', '1k_384', IN1K, 85.5),
        'convnext_tiny_in22k': _v1('tiny', '22k_224', IN22K),
        'convnext_small_in22k': _v1('small', '22k_224', IN22K),
        'convnext_base_in22k': _v1('base', '22k_224', IN22K),
        'convnext_large_in22k': _v1('large', '22k_224', IN22K),
        'convnext_xlarge_in22k': _v1('xlarge', '22k_224', IN22K),
        'convnext_tiny_in22k_in1k': _v1('tiny', '22k_1k_224', _BOTH, 82.9),
        'convnext_small_in22k_in1k': _v1('small', '22k_1k_224', _BOTH, 84.6),
        'convnext_base_in22k_in1k': _v1('base', '22k_1k_224', _BOTH, 85.8),
        'convnext_large_in22k_in1k': _v1('large', '22k_1k_224', _BOTH, 86.6),
        'convnext_xlarge_in22k_in1k_ema': _v1('xlarge', '22k_1k_224_ema', _BOTH, 87.0),
        'convnext_tiny_in22k_in1k_384': _v1('tiny', '22k_1k_384', _BOTH, 84.1),
        'convnext_small_in22k_in1k_384': _v1('small', '22k_1k_384', _BOTH, 85.8),
        'convnext_base_in22k_in1k_384': _v1('base', '22k_1k_384', _BOTH, 86.8),
        'convnext_large_in22k_in1k_384': _v1('large', '22k_1k_384', _BOTH, 87.5),
        'convnext_xlarge_in22k_in1k_384_ema': _v1('xlarge', '22k_1k_384_ema', _BOTH, 87.8),
        # V2, masked autoencoders without a classifier.
        'convnextv2_atto_fcmae': _fcmae('atto'),
        'convnextv2_femto_fcmae': _fcmae('femto'),
        'convnextv2_pico_fcmae': _fcmae('pico'),
        'convnextv2_nano_fcmae': _fcmae('nano'),
        'convnextv2_tiny_fcmae': _fcmae('tiny'),
        'convnextv2_base_fcmae': _fcmae('base'),
        'convnextv2_large_fcmae': _fcmae('large'),
        'convnextv2_huge_fcmae': _fcmae('huge'),
        # V2, the same networks fine-tuned as classifiers.
        'convnextv2_atto_in1k_ema': _v2('atto', '1k_224', IN1K, 76.7),
        'convnextv2_femto_in1k_ema': _v2('femto', '1k_224', IN1K, 78.5),
        'convnextv2_pico_in1k_ema': _v2('pico', '1k_224', IN1K, 80.3),
        'convnextv2_nano_in1k_ema': _v2('nano', '1k_224', IN1K, 81.9),
        'convnextv2_tiny_in1k_ema': _v2('tiny', '1k_224', IN1K, 83.0),
        'convnextv2_base_in1k_ema': _v2('base', '1k_224', IN1K, 84.9),
        'convnextv2_large_in1k_ema': _v2('large', '1k_224', IN1K, 85.8),
        'convnextv2_huge_in1k_ema': _v2('huge', '1k_224', IN1K, 86.3),
        'convnextv2_nano_in22k_in1k_ema': _v2('nano', '22k_224', _BOTH, 82.1),
        'convnextv2_tiny_in22k_in1k_ema': _v2('tiny', '22k_224', _BOTH, 83.9),
        'convnextv2_base_in22k_in1k_ema': _v2('base', '22k_224', _BOTH, 86.8),
        'convnextv2_large_in22k_in1k_ema': _v2('large', '22k_224', _BOTH, 87.3),
        'convnextv2_nano_in22k_in1k_384_ema': _v2('nano', '22k_384', _BOTH, 83.4),
        'convnextv2_tiny_in22k_in1k_384_ema': _v2('tiny', '22k_384', _BOTH, 85.1),
        'convnextv2_base_in22k_in1k_384_ema': _v2('base', '22k_384', _BOTH, 87.7),
        'convnextv2_large_in22k_in1k_384_ema': _v2('large', '22k_384', _BOTH, 88.2),
        'convnextv2_huge_in22k_in1k_384_ema': _v2('huge', '22k_384', _BOTH, 88.7),
        'convnextv2_huge_in22k_in1k_512_ema': _v2('huge', '22k_512', _BOTH, 88.9),
        # DINOv3 has the shapes of V1.
        'dinov3_convnext_tiny': _dinov3('tiny'),
        'dinov3_convnext_small': _dinov3('small'),
        'dinov3_convnext_base': _dinov3('base'),
        'dinov3_convnext_large': _dinov3('large'),
        # V1, trained by torchvision; the file name has a checksum.
        'torchvision_convnext_tiny_in1k': _torchvision('tiny', '983f1562'),
        'torchvision_convnext_small_in1k': _torchvision('small', '0c510722'),
        'torchvision_convnext_base_in1k': _torchvision('base', '6075fbad'),
        'torchvision_convnext_large_in1k': _torchvision('large', 'ea097f82'),
        # Whole detectors: the seven of the authors on COCO.
        **{
            f'{method}_convnext_{arch}{name}_coco': _finetuned(
                arch, f'coco/{method}_convnext_{arch}_{file}_3x', f'{data}, COCO'
            )
            for method, arch, name, file, data in (
                ('mask_rcnn', 'tiny', '', '1k', IN1K),
                ('cascade_mask_rcnn', 'tiny', '', '1k', IN1K),
                ('cascade_mask_rcnn', 'small', '', '1k', IN1K),
                ('cascade_mask_rcnn', 'base', '', '1k', IN1K),
                ('cascade_mask_rcnn', 'base', '_in22k', '22k', IN22K),
                ('cascade_mask_rcnn', 'large', '_in22k', '22k', IN22K),
                ('cascade_mask_rcnn', 'xlarge', '_in22k', '22k', IN22K),
            )
        },
        # Whole segmentors: the six of the authors on ADE20K.
        **{
            f'upernet_convnext_{arch}{name}_ade20k': _finetuned(
                arch, f'ade20k/upernet_convnext_{arch}_{file}', f'{data}, ADE20K'
            )
            for arch, name, file, data in (
                ('tiny', '', '1k_512x512', IN1K),
                ('small', '', '1k_512x512', IN1K),
                ('base', '', '1k_512x512', IN1K),
                ('base', '_in22k', '22k_640x640', IN22K),
                ('large', '_in22k', '22k_640x640', IN22K),
                ('xlarge', '_in22k', '22k_640x640', IN22K),
            )
        },
    }
)
