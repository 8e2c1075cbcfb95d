"""The same numbers as timm's ConvNeXt, an independent implementation, on the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from convnext_mm import ConvNeXt

PEERS = Path(sys.prefix) / 'peers'
SCRIPT = Path(__file__).parent / 'peers' / 'timm_features.py'


@pytest.mark.skipif(not PEERS.is_dir(), reason='timm is not there: `make setup` installs it')
@pytest.mark.parametrize(
    'arch, name',
    [
        ('tiny', 'convnext_tiny'),
        ('small', 'convnext_small'),
        ('v2_atto', 'convnextv2_atto'),
        ('v2_nano', 'convnextv2_nano'),
        ('v2_tiny', 'convnextv2_tiny'),
    ],
)
def test_features_equal_timms(arch, name, tmp_path):
    torch.manual_seed(0)
    model = ConvNeXt(arch).eval()
    with torch.no_grad():  # the initial values would let residual branches and GRN do nothing
        for key, param in model.named_parameters():
            if key.endswith(('gamma', 'beta', 'bias')):
                param.normal_(std=0.5)
    image = torch.randn(2, 3, 96, 130)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith('norm')}
    torch.save(dict(name=name, state=state, image=image), tmp_path / 'in.pt')
    subprocess.run(
        [sys.executable, SCRIPT, tmp_path / 'in.pt', tmp_path / 'out.pt'],
        env={**os.environ, 'PYTHONPATH': str(PEERS)},
        check=True,
    )
    theirs = torch.load(tmp_path / 'out.pt')
    with torch.no_grad():
        ours = model(image)
    for i, (mine, feature) in enumerate(zip(ours, theirs, strict=True)):
        norm = getattr(model, f'norm{i}')
        normed = F.layer_norm(feature.permute(0, 2, 3, 1), norm.weight.shape, eps=1e-6)
        expected = (normed * norm.weight + norm.bias).permute(0, 3, 1, 2)
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)
