"""tools/inspect_weights.py and tools/convert_weights.py as a user calls them."""

import json

import pytest
import torch

from convnext_mm import ConvNeXt
from convnext_mm.weights.formats import to_backbone
from tests.conftest import run_tool
from tests.weights.test_formats import classifier


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(model=classifier()), path)
    return path


def test_a_file_is_converted_and_fits_under_the_other_names(weights, tmp_path):
    target = tmp_path / 'hf.safetensors'
    done = run_tool('convert_weights.py', weights, target, '--to', 'hf')
    assert done.code == 0, done.output
    assert done.output.splitlines()[-1] == f'{target}: hf, 65 tensors'
    done = run_tool('inspect_weights.py', target)
    assert done.code == 0 and 'hf (Hugging Face transformers' in done.output
    backbone = ConvNeXt(dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32)))
    done = run_tool('inspect_weights.py', target, '--json')
    metadata = json.loads(done.output)
    assert (metadata['format'], metadata['where'], metadata['missing']) == ('hf', 'convnext.', [])
    body = [name for name in backbone.state_dict() if not name.startswith('norm')]
    assert metadata['backbone'] == len(body)
    assert to_backbone(torch.load(weights)).tensors.keys() == set(body)


@pytest.mark.parametrize('tool', ['convert_weights.py', 'inspect_weights.py'])
def test_a_mistake_of_a_user_is_one_line_and_exit_code_2(tool, tmp_path):
    target = [tmp_path / 'b.pth'] if 'convert' in tool else []
    done = run_tool(tool, tmp_path / 'none.pth', *target)
    assert done.code == 2
    assert done.output.startswith('error: ') and 'none.pth: no such file' in done.output
    assert len(done.output.splitlines()) == 1
