"""The backbone gives the same maps as the ConvNeXts of other projects, from their own files.

The scripts in tests/peers run each project alone with random weights, and save its file and its
maps. A backbone with the weights of that file must give the same maps. A conversion to other names
and back must give the same file.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F

from convnext_mm import ConvNeXt
from convnext_mm.archs import Arch
from convnext_mm.weights.convert import convert
from convnext_mm.weights.files import read_checkpoint
from convnext_mm.weights.formats import arch_name, infer_arch, to_backbone

PEERS = Path(sys.prefix) / 'peers'
SCRIPTS = Path(__file__).resolve().parents[1] / 'peers'

pytestmark = pytest.mark.skipif(not PEERS.is_dir(), reason='no peers: `make setup` installs them')


class Case(NamedTuple):
    """The expected properties of a file.

    Attributes:
        format: Name of the format.
        arch: The arch, its name, or whether the deep narrow network of the scripts is V2.
        unused: Number of tensors that no backbone has.
        final_norm: Whether it has the norm of a classifier or trunk.
        output_norms: Whether it has a norm for each map.
    """

    format: str
    arch: str | bool
    unused: int
    final_norm: bool = True
    output_norms: bool = False


CASES = {
    'timm': {
        'timm_tiny': Case('timm', 'tiny', 2),
        'timm_small': Case('timm', False, 0),
        'timm_hnf': Case('timm', Arch((3, 3, 9, 3), (24, 48, 96, 192)), 2),
        'timm_atto': Case('timm', Arch((2, 2, 6, 2), (40, 80, 160, 320)), 2),
        'timm_large_mlp': Case('timm', False, 4),
        'timm_v2_tiny': Case('timm', 'v2_tiny', 2),
        'timm_v2_small': Case('timm', True, 2),
        'timm_v2_atto': Case('timm', 'v2_atto', 2),
        'timm_features_only': Case('timm', 'v2_atto', 0, final_norm=False),
        'open_clip': Case('timm', False, 3),
    },
    'transformers': {
        'hf_tiny': Case('hf', 'tiny', 2),
        'hf_small_backbone': Case('hf', False, 0, final_norm=False, output_norms=True),
        'hf_v2_atto': Case('hf', 'v2_atto', 2),
        'hf_v2_small': Case('hf', True, 0),
        'hf_v2_atto_backbone': Case('hf', 'v2_atto', 0, final_norm=False, output_norms=True),
        'hf_dinov3_tiny': Case('hf_dinov3', 'tiny', 0),
        'hf_dinov3_small': Case('hf_dinov3', False, 0),
    },
    'torchvision': {
        'torchvision_tiny': Case('torchvision', 'tiny', 2),
        'torchvision_small': Case('torchvision', False, 2),
    },
    'mmpretrain': {
        'mmpretrain_tiny': Case('mmpretrain', 'tiny', 2),
        'mmpretrain_small_detector': Case('mmpretrain', False, 4, False, output_norms=True),
        'mmpretrain_v2_atto': Case('mmpretrain', 'v2_atto', 2),
        'mmpretrain_v2_small_detector': Case('mmpretrain', True, 4, False, output_norms=True),
    },
}


@pytest.fixture(scope='module')
def run_script(tmp_path_factory):
    """Run the script of a project once and return its folder, which is removed at the end."""
    folders = {}

    def run(project: str) -> Path:
        if project not in folders:
            folders[project] = tmp_path_factory.mktemp(project)
            subprocess.run(
                [sys.executable, SCRIPTS / f'{project}_features.py', folders[project]],
                env={**os.environ, 'PYTHONPATH': str(PEERS), 'OMP_NUM_THREADS': '1'},
                check=True,
            )
        return folders[project]

    yield run
    for folder in folders.values():
        shutil.rmtree(folder)


@pytest.fixture
def folder(run_script, project):
    return run_script(project)


def read(folder, case):
    (file,) = (file for file in folder.glob(f'{case}.*') if file.suffix != '.features')
    return read_checkpoint(file)


def cases(*without):
    rows = [(project, case) for project in CASES for case in CASES[project] if case not in without]
    return pytest.mark.parametrize('project, case', rows)


@cases()
def test_maps_equal_those_of_the_project(folder, project, case):
    expected = CASES[project][case]
    state = to_backbone(read(folder, case))
    assert (state.format, len(state.unused)) == (expected.format, expected.unused)
    assert set(state.final_norm) == ({'weight', 'bias'} if expected.final_norm else set())
    assert state.loads_final_norm == ('dinov3' in case)
    arch = infer_arch(state.tensors)
    if isinstance(expected.arch, bool):
        assert arch == Arch((3, 3, 27, 3), (24, 48, 96, 192), grn=expected.arch)
    else:
        assert expected.arch in (arch, arch_name(arch))

    # If the file has no layer scale, the model must have none either; it would scale the maps.
    model = ConvNeXt(arch).eval()
    tensors = dict(state.tensors)
    if state.loads_final_norm:
        tensors |= {f'norm3.{kind}': value for kind, value in state.final_norm.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.startswith('norm') for name in missing)
    assert bool(missing) != expected.output_norms

    theirs = torch.load(folder / f'{case}.features')
    with torch.no_grad():
        ours = model(theirs['image'])
    features = theirs['features']
    if not theirs['normed']:
        features = [layer_norm(feature) for feature in features[:4]] + features[4:]
    if state.loads_final_norm:
        features.pop(3)  # The last map before the norm of DINOv3, which is loaded into norm3.
    assert len(features) == 4
    for mine, feature in zip(ours, features, strict=True):
        torch.testing.assert_close(mine, feature, rtol=1e-5, atol=1e-5)


def layer_norm(feature):
    return F.layer_norm(feature.permute(0, 2, 3, 1), feature.shape[1:2], eps=1e-6).permute(
        0, 3, 1, 2
    )


# Formats that are only read, a hidden layer in the head, a CLIP model, and linear layers of timm in
# a network so narrow that the published ones have convolutions.
NOT_WRITTEN = (
    'timm_small',
    'timm_v2_small',
    'timm_features_only',
    'timm_hnf',
    'timm_large_mlp',
    'open_clip',
    'hf_dinov3_tiny',
    'hf_dinov3_small',
)


@cases(*NOT_WRITTEN)
def test_a_converted_file_equals_the_file_of_the_project(folder, case):
    content = read(folder, case)
    there = convert(content, 'official')
    back = convert(there.tensors, to_backbone(content).format)
    theirs = content.get('state_dict', content)
    assert back.tensors.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(back.tensors[name], tensor), name
