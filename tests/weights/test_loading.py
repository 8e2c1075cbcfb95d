"""Loading a checkpoint with the authors' names: all or nothing, with proof."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch
from torch import nn

from convnext_mm import ConvNeXt, ConvNeXtPretrained
from convnext_mm.weights.formats import to_backbone
from convnext_mm.weights.loading import load_backbone

SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))


def official(arch=SMALL, **kwargs):
    """The authors' classifier with random weights: its tensors, in its file's wrapper."""
    model = ConvNeXt(arch, out_indices=(3,), **kwargs)
    state = {n: torch.randn_like(v) for n, v in model.state_dict().items() if 'norm3' not in n}
    head = dict(weight=torch.randn(1000, 32), bias=torch.randn(1000))
    norm = dict(weight=torch.randn(32), bias=torch.randn(32))
    state |= {f'head.{k}': v for k, v in head.items()} | {f'norm.{k}': v for k, v in norm.items()}
    return state


@pytest.fixture
def save(tmp_path):
    def write(content):
        path = tmp_path / 'weights.pth'
        torch.save(content, path)
        return str(path)

    return write


def init(backbone, checkpoint, **kwargs):
    backbone.init_cfg = dict(type='ConvNeXtPretrained', checkpoint=checkpoint, **kwargs)
    backbone.init_weights()


def unchanged(backbone, before):
    return all(torch.equal(v, before[n]) for n, v in backbone.state_dict().items())


def test_a_classifier_fills_stem_and_stages(save):
    state = official()
    backbone = ConvNeXt(SMALL)
    init(backbone, save(dict(model=state)))
    own = backbone.state_dict()
    loaded = [name for name in own if name in state]
    assert len(loaded) == len(own) - 8  # all but norm0..3
    assert all(torch.equal(own[name], state[name]) for name in loaded)
    assert torch.equal(own['norm3.weight'], torch.ones(32))  # the final norm is dropped


def test_the_report_counts_what_was_loaded_and_what_was_not():
    report = load_backbone(ConvNeXt(SMALL), to_backbone(official()))
    body = 4 + 3 * 4 + 5 * 9  # stem, downsampling, blocks
    assert report == (
        f'loaded {body}/{body} tensors of stem and stages and 0 of the output norms; '
        'final norm dropped, 2 other tensors unused'
    )


def test_the_final_norm_is_loaded_on_request(save):
    state = official()
    backbone = ConvNeXt(SMALL)
    init(backbone, save(dict(model=state)), final_norm='load')
    assert torch.equal(backbone.norm3.weight, state['norm.weight'])


def test_a_backbone_cut_short_takes_the_stages_it_has(save):
    state = official()
    backbone = ConvNeXt(SMALL, out_indices=(0, 1))
    init(backbone, save(dict(model=state)))
    assert torch.equal(backbone.stages[1][0].dwconv.weight, state['stages.1.0.dwconv.weight'])


def test_a_whole_detector_fills_the_output_norms_too(save):
    donor = ConvNeXt(SMALL)
    with torch.no_grad():
        for param in donor.parameters():
            param.normal_()
    detector = nn.ModuleDict(dict(backbone=donor, stages=nn.Linear(2, 2)))
    backbone = ConvNeXt(SMALL)
    init(backbone, save(dict(state_dict=detector.state_dict(), meta=dict(epoch=36))))
    assert unchanged(backbone, donor.state_dict())


@pytest.mark.parametrize(
    'state, message',
    [
        (lambda: official(dict(SMALL, depths=(1, 1, 1, 1))), r'missing \(such as stages.2.1'),
        (lambda: official(dict(SMALL, depths=(1, 1, 3, 1))), r'without a place \(such as stages.2'),
        (lambda: official(dict(SMALL, channels=(4, 8, 12, 32))), 'of another shape'),
        (lambda: official(dict(SMALL, grn=True)), 'grn.gamma'),
        (lambda: official(layer_scale_init_value=0), r'missing \(such as stages.0.0.gamma\)'),
        (lambda: {'conv1.weight': torch.zeros(3)}, "no tensor with the name of a ConvNeXt's"),
        (lambda: {}, 'its first names: none'),
    ],
)
def test_weights_that_do_not_fit_are_an_error_and_leave_the_backbone_as_it_was(
    save, state, message
):
    backbone = ConvNeXt(SMALL)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        init(backbone, save(dict(model=state())))
    assert 'weights.pth' in str(error.value)
    assert unchanged(backbone, before)


def test_an_unknown_policy_is_named_with_the_allowed_ones():
    with pytest.raises(ValueError, match="final_norm='keep' is unknown; allowed: auto, drop, load"):
        ConvNeXtPretrained('weights.pth', final_norm='keep')


class RunsCode:
    """A pickle that runs code when it is loaded."""

    def __reduce__(self):
        return print, ('code from a checkpoint',)


def test_a_pickle_that_wants_to_run_code_is_refused(save, capsys):
    path = save(dict(model=official(), extra=RunsCode()))
    with pytest.raises(Exception, match='Weights only load failed'):
        init(ConvNeXt(SMALL), path)
    assert 'code from a checkpoint' not in capsys.readouterr().out


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves a folder over http; torch.hub's cache is empty."""
    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{http.server_port}'
        http.shutdown()


def test_a_url_is_downloaded_once(server):
    folder, url = server
    state = official()
    torch.save(dict(model=state), folder / 'tiny.pth')
    for _ in range(2):
        backbone = ConvNeXt(SMALL)
        init(backbone, f'{url}/tiny.pth')
        assert torch.equal(backbone.stages[0][0].gamma, state['stages.0.0.gamma'])
        (folder / 'tiny.pth').unlink(missing_ok=True)  # the second time it comes from the cache


def test_a_downloaded_pickle_that_wants_to_run_code_is_refused(server, capsys):
    folder, url = server
    torch.save(dict(model=official(), extra=RunsCode()), folder / 'evil.pth')
    with pytest.raises(Exception, match='Weights only load failed'):
        init(ConvNeXt(SMALL), f'{url}/evil.pth')
    assert 'code from a checkpoint' not in capsys.readouterr().out


def test_a_file_that_cannot_be_had_is_a_clear_error(server):
    _, url = server
    with pytest.raises(FileNotFoundError, match=r'none.pth cannot be downloaded .*put the file at'):
        init(ConvNeXt(SMALL), f'{url}/none.pth')
    with pytest.raises(FileNotFoundError, match=r'none.pth: no such file'):
        init(ConvNeXt(SMALL), 'none.pth')
