"""The names and shapes that each project gives to the parameters of a ConvNeXt.

The backbone uses the authors' names. :meth:`Format.names` lists all names of a format in one fixed
order. The same place in two lists is the same tensor, so renaming is a look-up in either direction.

Sources: facebookresearch/ConvNeXt ``models/convnext.py``; facebookresearch/ConvNeXt-V2
``models/convnextv2.py`` and ``convnextv2_sparse.py``; facebookresearch/dinov3
``dinov3/models/convnext.py``; timm ``models/convnext.py``; transformers ``models/convnext``,
``convnextv2`` and ``dinov3_convnext``; torchvision ``models/convnext.py``; MMPretrain
``models/backbones/convnext.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import isqrt
from typing import TYPE_CHECKING

from convnext_mm.archs import NUM_STAGES

if TYPE_CHECKING:
    from torch import Tensor

# The largest number of blocks in a stage. The deepest published stage (timm's xxlarge) has 30.
MAX_DEPTH = 64
FIRST_KERNEL = 'stages.0.0.dwconv.weight'
KERNEL_SIZE = 7


@dataclass(frozen=True)
class Format:
    """The names of one project. The defaults are the authors' names.

    In a template, `i` is the stage and `j` the block in it, both from 0; ``next``, ``even`` and
    ``odd`` are i + 1, 2i and 2i + 1. A module has a weight and a bias. `gamma` (layer scale),
    `grn_gamma` and `grn_beta` are parameters.

    Attributes:
        name: Short name. Variants of one project share it.
        project: The project, for a reader.
        kernel: Name of the weight of a depthwise or downsampling convolution.
        homes: Prefix of the network in a classifier of V1 and of V2, such as ``backbone.``. The
            last layer of the classifier does not have the prefix.
        wrapper: The key of the tensors in a file of this format, if there is one.
        also: Further names that distinguish the format from others with the same blocks.
        duplicates: Names of tensors that the file holds twice.
        shapes: End of our name -> argument of ``Tensor.reshape``, where the shape differs.
        conv_mlp_below: Networks with fewer channels in the first stage store their linear layers
            as 1x1 convolutions.
        final_norm_on_maps: Whether the last norm was trained on the whole map (on patch tokens),
            and not only on its mean as in a classifier. Fine-tuning then starts from it.
    """

    name: str
    project: str
    stem_conv: str = 'downsample_layers.0.0'
    stem_norm: str = 'downsample_layers.0.1'
    downsample_norm: str = 'downsample_layers.{i}.0'
    downsample_conv: str = 'downsample_layers.{i}.1'
    block: str = 'stages.{i}.{j}'
    dwconv: str = 'dwconv'
    norm: str = 'norm'
    pwconv1: str = 'pwconv1'
    grn_gamma: str | None = 'grn.gamma'
    grn_beta: str | None = 'grn.beta'
    pwconv2: str = 'pwconv2'
    gamma: str = 'gamma'
    output_norm: str = 'norm{i}'
    final_norm: str = 'norm'
    head: str = 'head'
    kernel: str = 'weight'
    homes: tuple[str, str] = ('', '')
    wrapper: str | None = None
    also: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    conv_mlp_below: int = 0
    final_norm_on_maps: bool = False

    def names(self) -> Iterator[str | None]:
        """Yield every name that a network can have, in the same order for all formats."""
        yield from (f'{self.stem_conv}.weight', f'{self.stem_conv}.bias')
        yield from (f'{self.stem_norm}.weight', f'{self.stem_norm}.bias')
        for i in range(NUM_STAGES):
            place = dict(i=i, next=i + 1, even=2 * i, odd=2 * i + 1)
            if i:
                norm = self.downsample_norm.format(**place)
                conv = self.downsample_conv.format(**place)
                yield from (f'{norm}.weight', f'{norm}.bias')
                yield from (f'{conv}.{self.kernel}', f'{conv}.bias')
            for j in range(MAX_DEPTH):
                block = self.block.format(j=j, **place)
                yield from (f'{block}.{self.dwconv}.{self.kernel}', f'{block}.{self.dwconv}.bias')
                for module in (self.norm, self.pwconv1, self.pwconv2):
                    yield from (f'{block}.{module}.weight', f'{block}.{module}.bias')
                for parameter in (self.grn_gamma, self.grn_beta, self.gamma):
                    yield parameter and f'{block}.{parameter}'
            norm = self.output_norm.format(**place)
            yield from (f'{norm}.weight', f'{norm}.bias')
        for module in (self.final_norm, self.head):
            yield from (f'{module}.weight', f'{module}.bias')


OFFICIAL = Format('official', 'facebookresearch/ConvNeXt, ConvNeXt-V2', wrapper='model')
DINOV3 = replace(
    OFFICIAL,
    name='dinov3',
    project='facebookresearch/dinov3',
    wrapper=None,
    also=('norms.3.weight',),
    duplicates=('norms.3.weight', 'norms.3.bias'),  # Copies of `norm`.
    final_norm_on_maps=True,
)
# FCMAE trains with sparse layers of MinkowskiEngine; the stem is an ordinary convolution.
FCMAE = replace(
    OFFICIAL,
    name='fcmae',
    project='facebookresearch/ConvNeXt-V2, sparse encoder',
    downsample_norm='downsample_layers.{i}.0.ln',
    norm='norm.ln',
    pwconv1='pwconv1.linear',
    pwconv2='pwconv2.linear',
    kernel='kernel',
)
TIMM = Format(
    'timm',
    'huggingface/pytorch-image-models',
    stem_conv='stem.0',
    stem_norm='stem.1',
    downsample_norm='stages.{i}.downsample.0',
    downsample_conv='stages.{i}.downsample.1',
    block='stages.{i}.blocks.{j}',
    dwconv='conv_dw',
    pwconv1='mlp.fc1',
    grn_gamma='mlp.grn.weight',
    grn_beta='mlp.grn.bias',
    pwconv2='mlp.fc2',
    final_norm='head.norm',
    head='head.fc',
    shapes={'grn.gamma': (-1,), 'grn.beta': (-1,)},
    conv_mlp_below=96,  # atto, femto, pico, nano
)
TIMM_NORM_FIRST = replace(TIMM, final_norm='norm_pre', also=('norm_pre.weight',))
TIMM_FEATURES = replace(
    TIMM,
    stem_conv='stem_0',
    stem_norm='stem_1',
    downsample_norm='stages_{i}.downsample.0',
    downsample_conv='stages_{i}.downsample.1',
    block='stages_{i}.blocks.{j}',
)
HF = Format(
    'hf',
    'Hugging Face transformers, ConvNext and ConvNextV2',
    stem_conv='embeddings.patch_embeddings',
    stem_norm='embeddings.layernorm',
    downsample_norm='encoder.stages.{i}.downsampling_layer.0',
    downsample_conv='encoder.stages.{i}.downsampling_layer.1',
    block='encoder.stages.{i}.layers.{j}',
    norm='layernorm',
    grn_gamma='grn.weight',
    grn_beta='grn.bias',
    gamma='layer_scale_parameter',
    output_norm='hidden_states_norms.stage{next}',
    final_norm='layernorm',
    head='classifier',
    homes=('convnext.', 'convnextv2.'),
)
HF_DINOV3 = Format(
    'hf_dinov3',
    'Hugging Face transformers, DINOv3ConvNext',
    stem_conv='stages.0.downsample_layers.0',
    stem_norm='stages.0.downsample_layers.1',
    downsample_norm='stages.{i}.downsample_layers.0',
    downsample_conv='stages.{i}.downsample_layers.1',
    block='stages.{i}.layers.{j}',
    dwconv='depthwise_conv',
    norm='layer_norm',
    pwconv1='pointwise_conv1',
    grn_gamma=None,
    grn_beta=None,
    pwconv2='pointwise_conv2',
    final_norm='layer_norm',
    final_norm_on_maps=True,
)
# Since transformers 5, the stages of a model in memory are one level deeper, the last norm is not.
HF_DINOV3_5 = replace(
    HF_DINOV3,
    stem_conv='model.stages.0.downsample_layers.0',
    stem_norm='model.stages.0.downsample_layers.1',
    downsample_norm='model.stages.{i}.downsample_layers.0',
    downsample_conv='model.stages.{i}.downsample_layers.1',
    block='model.stages.{i}.layers.{j}',
    also=('layer_norm.weight',),
)
TORCHVISION = Format(
    'torchvision',
    'pytorch/vision',
    stem_conv='features.0.0',
    stem_norm='features.0.1',
    downsample_norm='features.{even}.0',
    downsample_conv='features.{even}.1',
    block='features.{odd}.{j}',
    dwconv='block.0',
    norm='block.2',
    pwconv1='block.3',
    grn_gamma=None,
    grn_beta=None,
    pwconv2='block.5',
    gamma='layer_scale',
    final_norm='classifier.0',
    head='classifier.2',
    shapes={'gamma': (-1, 1, 1)},
)
MMPRETRAIN = Format(
    'mmpretrain',
    'open-mmlab/mmpretrain',
    dwconv='depthwise_conv',
    pwconv1='pointwise_conv1',
    pwconv2='pointwise_conv2',
    final_norm='norm3',  # The name of an output norm of a detector, too.
    head='head.fc',
    homes=('backbone.', 'backbone.'),
    wrapper='state_dict',
    shapes={'grn.gamma': (-1,), 'grn.beta': (-1,)},
)

# A format with names in `also` comes before the format with the same blocks.
FORMATS = (
    DINOV3,
    OFFICIAL,
    FCMAE,
    TIMM_NORM_FIRST,
    TIMM,
    TIMM_FEATURES,
    HF,
    HF_DINOV3_5,
    HF_DINOV3,
    TORCHVISION,
    MMPRETRAIN,
)
# The formats that can be written, by name.
TARGETS = {format.name: format for format in (OFFICIAL, TIMM, MMPRETRAIN, HF, TORCHVISION)}


@cache
def to_theirs(format: Format) -> dict[str, str | None]:
    """Return our name -> the name in the format, or None if the format has no such tensor."""
    return dict(zip(OFFICIAL.names(), format.names(), strict=True))


@cache
def to_ours(format: Format) -> dict[str, str]:
    """Return the name in the format -> our name; the first one for MMPretrain's two norm3."""
    return {theirs: ours for ours, theirs in reversed(to_theirs(format).items()) if theirs}


def is_first_kernel(tensor: Tensor) -> bool:
    """Return whether a tensor has the shape of the 7x7 depthwise kernel of the first block.

    Other networks (EdgeNeXt) have the same names and other kernels.
    """
    if tensor.ndim == 2:  # Sparse: positions x channels.
        return tensor.shape[0] == KERNEL_SIZE**2
    return tensor.ndim == 4 and tensor.shape[1:] == (1, KERNEL_SIZE, KERNEL_SIZE)


def our_shape(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of any format in the shape of our `name`; a view where possible.

    A tensor that does not match its name stays as it is. The comparison of shapes reports it.
    """
    if str(tensor.layout) != 'torch.strided':
        return tensor
    if '.grn.' in name:
        return tensor.flatten()[None, None, None]
    if not name.endswith('.weight'):  # A bias or layer scale.
        return tensor.flatten()
    if 'pwconv' in name and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        return tensor.flatten(1)
    if 'dwconv' in name or name.startswith('downsample_layers.'):
        return _dense(tensor)
    return tensor


def their_shape(format: Format, name: str, tensor: Tensor, first_channels: int) -> Tensor:
    """Return the tensor of our `name` in the shape of a format.

    Args:
        first_channels: Channels of the network's first stage.
    """
    if 'pwconv' in name and name.endswith('weight') and first_channels < format.conv_mlp_below:
        return tensor[..., None, None]
    for end, shape in format.shapes.items():
        if name.endswith(end):
            return tensor.reshape(shape)
    return tensor


def _dense(kernel: Tensor) -> Tensor:
    """Return the dense kernel of a sparse convolution; any other tensor as it is.

    MinkowskiEngine lists the k*k positions column by column: (k*k, C) for a depthwise convolution
    and (k*k, C_in, C_out) for others. Source: ``remap_checkpoint_keys`` in ConvNeXt-V2's utils.
    """
    if kernel.ndim not in (2, 3) or isqrt(kernel.shape[0]) ** 2 != kernel.shape[0]:
        return kernel
    size = isqrt(kernel.shape[0])
    if kernel.ndim == 2:
        kernel = kernel[:, None]
    return kernel.permute(2, 1, 0).unflatten(2, (size, size)).transpose(2, 3).contiguous()
