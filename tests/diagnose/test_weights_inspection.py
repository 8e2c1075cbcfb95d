"""The description of a weights file."""

import pytest
import torch

from convnext_mm import ConvNeXt, ConvNeXtPretrained
from convnext_mm.diagnose.inspect_weights import describe, inspect, inspect_file
from convnext_mm.errors import UserError
from tests.weights.test_formats import SMALL, V2, network


def test_a_classifier_is_described():
    with torch.device('meta'):
        state = ConvNeXt('base', out_indices=3).state_dict()
    state = {n.replace('norm3.', 'norm.'): torch.zeros(v.shape) for n, v in state.items()}
    state['stages.0.0.gamma'][:] = 0.5
    state |= {'head.weight': torch.zeros(1000, 1024), 'head.bias': torch.zeros(1000)}
    found = inspect(dict(model=state))
    assert (found.format, found.where, found.arch, found.grn) == (
        'official',
        'model.',
        'base',
        False,
    )
    assert (found.backbone, found.missing, found.in_channels) == (340, (), 3)
    assert (found.output_norms, found.final_norm, found.loads_final_norm) == ((), True, False)
    assert (found.others, found.dtypes) == ({'classifier': 2}, {'float32': 342})
    # Stem, stages and final norm; MMPretrain's count for B without its other output norms.
    assert found.parameters == 87_568_256 - 2 * (128 + 256 + 512)
    assert (found.minimum, found.maximum, found.nan, found.infinite) == (0, 0.5, 0, 0)
    assert found.mean == pytest.approx(64 / found.parameters)

    lines = describe('convnext_base.pth', found).splitlines()
    assert lines[0] == 'convnext_base.pth'
    text = {line[2:17].strip(): line[17:] for line in lines[1:]}
    assert text['variant'].startswith('base: ConvNeXt V1, depths (3, 3, 27, 3)')
    assert text['final norm'].startswith('trained on pooled features: loaded only with')
    assert text['values'].endswith('all finite')


def test_the_lines_for_a_config_work(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(network(dict(SMALL, grn=True)), path)
    lines = describe(str(path), inspect_file(str(path))).splitlines()[-3:]
    config = eval(''.join(lines).partition('backbone=')[2])
    assert config.pop('type') == 'convnext_mm.ConvNeXt'
    assert config['init_cfg'].pop('type') == 'ConvNeXtPretrained'
    backbone = ConvNeXt(config['arch'])
    ConvNeXtPretrained(**config['init_cfg'])(backbone)
    assert torch.equal(backbone.stages[0][0].grn.beta, torch.load(path)['stages.0.0.grn.beta'])


def test_the_modules_of_a_detector_are_counted():
    state = {f'module.backbone.{name}': v.half() for name, v in network(V2, '0123').items()}
    state |= {f'module.{name}': torch.ones(2) for name in ('neck.a.weight', 'rpn_head.b', 'neck.c')}
    found = inspect(dict(state_dict=state))
    assert found.where == 'state_dict.module.backbone.'
    assert found.output_norms == (0, 1, 2, 3) and not found.final_norm
    assert found.others == {'neck': 2, 'rpn_head': 1} and found.dtypes == {'float16': 74}
    text = describe('epoch_36.pth', found)
    assert (
        'convnext-mm test CONFIG epoch_36.pth' in text
        and 'other tensors  neck 2, rpn_head 1' in text
    )


def test_problems_of_a_file_are_described():
    state = network()
    del state['stages.2.0.dwconv.weight'], state['stages.2.1.gamma']
    state['stages.1.0.gamma'][:3] = torch.tensor([float('nan'), float('inf'), -float('inf')])
    state['stages.3.0.gamma'] = state['stages.3.0.gamma'].half()
    found = inspect(state)
    assert found.depths == (1, 1, 2, 1)
    assert found.missing == ('stages.2.0.dwconv.weight', 'stages.2.1.gamma')
    assert (found.nan, found.infinite) == (1, 2) and found.minimum > -10
    text = describe('broken.pth', found)
    assert '2 tensors MISSING: stages.2.0.dwconv.weight, stages.2.1.gamma' in text
    assert '1 NaN, 2 INFINITE' in text and 'float32 58, float16 1' in text
    assert text.endswith('it cannot be loaded, because tensors are missing')

    found = inspect({name: v for name, v in network().items() if 'stages.3' not in name})
    assert found.depths is None and 'stages are missing' in describe('cut.pth', found)


def test_a_file_without_a_convnext_is_a_mistake_of_the_user(tmp_path):
    path = tmp_path / 'resnet.pth'
    torch.save({'conv1.weight': torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r'resnet.pth holds no ConvNeXt, .*conv1'):
        inspect_file(str(path))
    with pytest.raises(UserError, match=r'none.pth: no such file'):
        inspect_file(str(tmp_path / 'none.pth'))


@pytest.mark.filterwarnings('ignore:Sparse invariant checks', 'ignore:torch.quantize_per_tensor')
@pytest.mark.parametrize(
    'tensor, kind',
    [
        (lambda: torch.ones(8, device='meta'), "on the device 'meta'"),
        (lambda: torch.ones(8).to_sparse(), 'torch.sparse_coo, torch.float32'),
        (
            lambda: torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.qint8),
            'torch.strided, torch.qint8',
        ),
    ],
)
def test_tensors_without_plain_values_are_named(tensor, kind):
    with pytest.raises(ValueError, match=f'stages.0.0.gamma is {kind}; weights must be dense'):
        inspect(network() | {'stages.0.0.gamma': tensor()})


def test_a_file_that_claims_more_values_than_it_holds_is_a_mistake_of_the_user(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(network() | {'stages.0.0.gamma': torch.zeros(1).expand(2**10, 2**10)}, path)
    with pytest.raises(UserError, match=r'weights.pth: the file is refused: stages.0.0.gamma'):
        inspect_file(str(path))
