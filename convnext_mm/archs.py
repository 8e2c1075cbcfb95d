"""The ConvNeXt variants: the number of blocks and channels of each stage.

V1: Liu et al., "A ConvNet for the 2020s", CVPR 2022, section 3 (facebookresearch/ConvNeXt,
``models/convnext.py``). V2: Woo et al., "ConvNeXt V2", CVPR 2023, appendix A
(facebookresearch/ConvNeXt-V2, ``models/convnextv2.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convnext_mm.errors import SettingError

NUM_STAGES = 4


@dataclass(frozen=True)
class Arch:
    """The shape of a ConvNeXt.

    Args:
        depths: Number of blocks in each of the four stages.
        channels: Number of channels in each of the four stages.
        grn: Whether the blocks have a Global Response Normalization instead of layer scale (V2).

    Raises:
        SettingError: `depths` or `channels` are not four positive integers, or `grn` is no bool.
    """

    depths: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    grn: bool = False

    def __post_init__(self) -> None:
        for field in ('depths', 'channels'):
            value = getattr(self, field)
            fits = (
                isinstance(value, (tuple, list))
                and len(value) == NUM_STAGES
                and all(type(v) is int and v > 0 for v in value)
            )
            if not fits:
                raise SettingError(
                    f'arch: {field}={value!r} must be {NUM_STAGES} positive integers, one per stage'
                )
            object.__setattr__(self, field, tuple(value))
        if not isinstance(self.grn, bool):
            raise SettingError(f'arch: grn={self.grn!r} must be True or False')


def _doubling(first: int) -> tuple[int, int, int, int]:
    """Return the channels of all published variants: they double from stage to stage."""
    return (first, 2 * first, 4 * first, 8 * first)


ARCHS: dict[str, Arch] = {
    'tiny': Arch((3, 3, 9, 3), _doubling(96)),
    'small': Arch((3, 3, 27, 3), _doubling(96)),
    'base': Arch((3, 3, 27, 3), _doubling(128)),
    'large': Arch((3, 3, 27, 3), _doubling(192)),
    'xlarge': Arch((3, 3, 27, 3), _doubling(256)),
    'v2_atto': Arch((2, 2, 6, 2), _doubling(40), grn=True),
    'v2_femto': Arch((2, 2, 6, 2), _doubling(48), grn=True),
    'v2_pico': Arch((2, 2, 6, 2), _doubling(64), grn=True),
    'v2_nano': Arch((2, 2, 8, 2), _doubling(80), grn=True),
    'v2_tiny': Arch((3, 3, 9, 3), _doubling(96), grn=True),
    'v2_base': Arch((3, 3, 27, 3), _doubling(128), grn=True),
    'v2_large': Arch((3, 3, 27, 3), _doubling(192), grn=True),
    'v2_huge': Arch((3, 3, 27, 3), _doubling(352), grn=True),
}


def resolve_arch(arch: str | Mapping | Arch) -> Arch:
    """Return the :class:`Arch` for the ``arch`` argument of the backbone.

    Args:
        arch: A name of :data:`ARCHS`, ``dict(depths=..., channels=..., grn=...)``, or an `Arch`.

    Raises:
        SettingError: The name or a key of the dict is unknown, or a value is invalid.
    """
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, Mapping):
        keys = set(arch)
        if not {'depths', 'channels'} <= keys <= {'depths', 'channels', 'grn'}:
            raise SettingError(
                f'arch: the keys {sorted(keys)} must be depths, channels and, optionally, grn'
            )
        return Arch(**arch)
    if not isinstance(arch, str) or arch not in ARCHS:
        raise SettingError(
            f'arch={arch!r} is unknown; allowed: {", ".join(ARCHS)}, or '
            'dict(depths=(...), channels=(...), grn=False)'
        )
    return ARCHS[arch]
