"""Load pretrained weights into a backbone, all or nothing, and say what was loaded."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from convnext_mm.weights.formats import BackboneState, to_backbone

FINAL_NORM_POLICIES = ('auto', 'drop', 'load')


@WEIGHT_INITIALIZERS.register_module()
class ConvNeXtPretrained:
    """Initialise a :class:`convnext_mm.ConvNeXt` from a checkpoint with the authors' names.

    Use as ``init_cfg=dict(type='ConvNeXtPretrained', checkpoint=...)`` of the backbone.

    Args:
        checkpoint: Path or URL of a ``.pth`` file.
        final_norm: What becomes of a classifier's last norm: ``drop`` leaves it out, as the
            authors do when they fine-tune a detector, ``load`` puts it into ``norm3``, ``auto``
            drops it.

    Raises:
        FileNotFoundError: The file is not there or cannot be downloaded.
        ValueError: The stem and stages are not all in the file with the backbone's shapes. The
            backbone is then unchanged.
    """

    def __init__(self, checkpoint: str, final_norm: str = 'auto') -> None:
        if final_norm not in FINAL_NORM_POLICIES:
            raise ValueError(
                f'final_norm={final_norm!r} is unknown; allowed: {", ".join(FINAL_NORM_POLICIES)}'
            )
        self.checkpoint = checkpoint
        self.final_norm = final_norm

    def __call__(self, backbone: nn.Module) -> None:
        # Tensors only: a pickle that wants to run code is refused.
        file = torch.load(local_file(self.checkpoint), map_location='cpu', weights_only=True)
        try:
            state = to_backbone(file)
            report = load_backbone(backbone, state, load_final_norm=self.final_norm == 'load')
        except ValueError as error:
            raise ValueError(f'{self.checkpoint}: {error}') from None
        print_log(f'{self.checkpoint}: {report}', logger='current')
        if hasattr(backbone, '_params_init_info'):
            update_init_info(backbone, init_info=f'ConvNeXtPretrained: {self.checkpoint}')


def local_file(source: str) -> Path:
    """The local path of a file, which is downloaded first if `source` is an http(s) URL.

    MMEngine's own loader unpickles what it downloads, code included; a file on disk it loads
    safely. Downloads are kept in torch.hub's cache; of the processes of a machine one downloads.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be downloaded.
    """
    if urlparse(source).scheme not in ('http', 'https'):
        if not Path(source).is_file():
            raise FileNotFoundError(f'{source}: no such file')
        return Path(source)
    path = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(source).path).name)
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print_log(f'downloading {source} to {path}', logger='current')
        try:
            torch.hub.download_url_to_file(source, str(path))  # takes its name when it is whole
        except URLError as error:
            raise FileNotFoundError(
                f'{source} cannot be downloaded ({error.reason}); on a machine without network, '
                f'put the file at {path}'
            ) from error
    barrier()
    return path


def load_backbone(backbone: nn.Module, state: BackboneState, load_final_norm: bool = False) -> str:
    """Copy a state into a backbone, all or nothing, and return a one-line report.

    Stages the backbone has not built (because of its ``out_indices``) are left out.

    Raises:
        ValueError: A tensor of the stem or the stages is missing or has another shape.
    """
    own = backbone.state_dict()
    tensors = {name: value for name, value in state.tensors.items() if name in own}
    final_norm = 'none in the file'
    if state.final_norm:
        final_norm = 'loaded into norm3' if load_final_norm else 'dropped'
    if load_final_norm:
        if not state.final_norm or 'norm3.weight' not in own:
            raise ValueError(
                "final_norm='load' needs a final norm in the file and the backbone's last stage "
                'in out_indices'
            )
        tensors |= {f'norm3.{name}': value for name, value in state.final_norm.items()}

    body = [name for name in own if not name.startswith('norm')]
    built = tuple(f'stages.{i}.' for i in range(len(backbone.stages)))
    problems = {
        'missing': [name for name in body if name not in tensors],
        'of another shape': [n for n, value in tensors.items() if value.shape != own[n].shape],
        # Deeper stages, or the other version's layer scale or GRN.
        'without a place': [n for n in state.tensors if n.startswith(built) and n not in own],
    }
    if any(problems.values()):
        found = ', '.join(
            f'{len(names)} tensors {problem} (such as {names[0]})'
            for problem, names in problems.items()
            if names
        )
        raise ValueError(
            f'the weights do not fit a backbone of {backbone.arch}: {found}; nothing was loaded. '
            'Is arch the variant in the file?'
        )
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)
    return (
        f'loaded {len(body)}/{len(body)} tensors of stem and stages and '
        f'{len(tensors) - len(body)} of the output norms; final norm {final_norm}, '
        f'{len(state.unused)} other tensors unused'
    )
