"""Sources to files to tensors: caches, downloads, the Hugging Face hub, and files that are none."""

import argparse
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from convnext_mm import ConvNeXt, ConvNeXtPretrained
from convnext_mm.errors import UserError
from convnext_mm.weights import files
from convnext_mm.weights.files import local_file, read_checkpoint
from tests.servers import STALL, serve

TENSORS = {'stages.0.0.gamma': torch.arange(6.0)}


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    """A machine on which nobody has ever downloaded anything or logged in."""
    for name in list(os.environ):
        if name.startswith(('HF_', 'HUGGINGFACE_')):
            monkeypatch.delenv(name)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'huggingface'))
    monkeypatch.setattr(files, 'TIMEOUT', 5)


@pytest.fixture
def server():
    with serve({}) as running:
        yield running


@pytest.fixture
def weights(tmp_path):
    """The bytes of a weights file."""
    torch.save(dict(model=TENSORS), tmp_path / 'weights.pth')
    return (tmp_path / 'weights.pth').read_bytes()


def same(checkpoint):
    state = checkpoint.get('model', checkpoint)
    return state.keys() == TENSORS.keys() and all(torch.equal(state[n], TENSORS[n]) for n in state)


# Paths and names


def test_a_path_may_be_relative_or_begin_with_the_home(tmp_path, monkeypatch, weights):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for source in ('weights.pth', './weights.pth', '~/weights.pth', tmp_path / 'weights.pth'):
        assert local_file(source).samefile(tmp_path / 'weights.pth')


@pytest.mark.parametrize(
    'source, message',
    [
        ('no/such.pth', r'no/such.pth: no such file$'),
        ('.', 'is a folder, not a file'),
        ('convnext_tiny_1k', 'no such file, and no published weights .* there are .*_tiny_in1k'),
        ('resnet50', 'no published weights of that name; there are'),
        ('s3://bucket/weights.pth', 'only http, https, hf and timm'),
        ('hf://name-alone', 'expected hf://org/name'),
        ('hf://org/../../etc/passwd', 'expected hf://org/name'),
    ],
)
def test_a_source_that_leads_nowhere_is_a_clear_error(source, message):
    with pytest.raises(FileNotFoundError, match=message):
        local_file(source)


# URLs


def test_a_url_is_downloaded_once_and_read_without_network_afterwards(server, weights):
    server.files['/tiny.pth'] = weights
    url = f'{server.url}/tiny.pth'
    assert same(read_checkpoint(url))
    server.files.clear()
    assert same(read_checkpoint(url))
    assert len(server.requests) == 1


def test_files_of_one_name_from_two_addresses_are_kept_apart(server):
    server.files = {'/a/epoch_36.pth': b'a' * 10, '/b/epoch_36.pth': b'b' * 10}
    first, second = (local_file(f'{server.url}/{x}/epoch_36.pth') for x in 'ab')
    assert (first.read_bytes(), second.read_bytes()) == (b'a' * 10, b'b' * 10)
    assert first.name == second.name == 'epoch_36.pth'


@pytest.mark.parametrize(
    'source, name',
    [
        ('https://example.org/convnext_tiny-983f1562.pth', 'convnext_tiny-983f1562.pth'),
        ('https://download.pytorch.org/models/tiny-98301562.pth', 'tiny-98301562.pth'),
        ('convnext_tiny_in1k', 'convnext_tiny_1k_224.pth'),
        ('https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth',) * 2,
    ],
)
def test_what_torch_hub_has_is_used_without_network(tmp_path, source, name):
    path = tmp_path / 'torch' / 'hub' / 'checkpoints' / Path(name).name
    path.parent.mkdir(parents=True)
    path.write_bytes(b'weights')
    assert local_file(source) == path


def test_a_cut_download_goes_on_where_it_stopped(server, monkeypatch, weights):
    monkeypatch.setattr('convnext_mm.weights.download.time.sleep', lambda seconds: None)
    server.files['/tiny.pth'], server.cut_after = weights, [500]
    assert local_file(f'{server.url}/tiny.pth').read_bytes() == weights
    assert [r.range for r in server.requests] == [None, 'bytes=500-']


def test_a_download_of_an_interrupted_process_goes_on_where_it_stopped(server, weights):
    server.files['/tiny.pth'] = weights
    url = f'{server.url}/tiny.pth'
    path = files._cache_path(url)
    path.parent.mkdir(parents=True)
    path.with_name('tiny.pth.part').write_bytes(weights[:300])
    assert same(read_checkpoint(url))
    assert [r.range for r in server.requests] == ['bytes=300-']
    assert [p.name for p in path.parent.iterdir()] == ['tiny.pth']


def test_a_wrong_checksum_is_an_error_and_leaves_no_file(server, tmp_path):
    server.files['/tiny-0123abcd.pth'] = b'weights'
    url = f'{server.url}/tiny-0123abcd.pth'
    with pytest.raises(FileNotFoundError, match='instead of 0123abcd, and was removed'):
        local_file(url)
    assert list(tmp_path.rglob('*.pth*')) == []


def test_a_date_in_a_name_is_no_checksum(server, weights):
    server.files['/tiny-20240131.pth'] = weights
    assert same(read_checkpoint(f'{server.url}/tiny-20240131.pth'))


def test_the_number_of_a_step_in_a_name_is_no_checksum(server):
    for folder, content in (('a', b'one'), ('b', b'other')):
        for name in ('step-00160000.pth', 'epoch-00000036.pt', 'saved-1700000000.pth'):
            server.files[f'/{folder}/{name}'] = content
    for path, content in server.files.items():
        assert local_file(server.url + path).read_bytes() == content


def test_decimal_digits_are_a_checksum_where_names_end_in_one_by_rule(server, monkeypatch):
    monkeypatch.setattr(files, 'CHECKSUM_HOSTS', ('127.0.0.1',))
    server.files['/tiny-00160000.pth'] = b'weights'
    with pytest.raises(FileNotFoundError, match='instead of 00160000, and was removed'):
        local_file(f'{server.url}/tiny-00160000.pth')


def test_of_several_processes_one_downloads(server, weights):
    server.files['/tiny.pth'] = weights
    paths = []
    # Threads do: the lock is the open file's.
    threads = [
        Thread(target=lambda: paths.append(local_file(f'{server.url}/tiny.pth'))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and len(set(paths)) == 1 and len(server.requests) == 1


def test_a_file_that_cannot_be_had_is_an_error_that_says_where_to_put_it(server, monkeypatch):
    monkeypatch.setattr(files, 'TIMEOUT', 0.3)
    server.files['/stalled.pth'] = STALL
    with serve({}) as closed:
        refusing = closed.url
    for url, reason in (
        (f'{server.url}/none.pth', '404'),
        (f'{server.url}/stalled.pth', 'timed out'),
        (f'{refusing}/tiny.pth', 'refused'),
    ):
        with pytest.raises(FileNotFoundError, match=reason) as error:
            local_file(url)
        assert f'put it at {files._cache_path(url)}' in str(error.value)
        assert isinstance(error.value, UserError)  # the tools print it without a traceback


# The Hugging Face hub


def fill_hub_cache(cache, repository, name, content):
    """What huggingface_hub leaves after a download."""
    folder = cache / f'models--{repository.replace("/", "--")}'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs' / 'main').write_text('0a1b2c')
    path = folder / 'snapshots' / '0a1b2c' / name
    blob = folder / 'blobs' / 'f00'
    for file in (path, blob):
        file.parent.mkdir(parents=True)
    blob.write_bytes(content)
    path.symlink_to(blob)
    return path


def test_the_users_hugging_face_cache_serves_offline(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    cache = tmp_path / 'huggingface' / 'hub'
    repository = 'facebook/dinov3-convnext-tiny-pretrain-lvd1689m'
    path = fill_hub_cache(cache, repository, 'model.safetensors', b'dinov3')
    assert local_file(f'hf://{repository}') == path
    assert local_file(f'hf://{repository}/model.safetensors') == path
    assert local_file('dinov3_convnext_tiny') == path

    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path / 'elsewhere'))
    path = fill_hub_cache(
        tmp_path / 'elsewhere', 'timm/convnext_tiny.fb_in1k', 'pytorch_model.bin', b'timm'
    )
    assert local_file('timm://convnext_tiny.fb_in1k') == path
    with pytest.raises(FileNotFoundError, match=r'HF_HUB_OFFLINE is set; put model.safetensors or'):
        local_file('timm://convnext_small.fb_in1k')


def test_the_hub_is_asked_for_safetensors_first(server, monkeypatch, weights):
    monkeypatch.setenv('HF_ENDPOINT', server.url)
    server.files['/timm/tiny/resolve/main/pytorch_model.bin'] = weights
    assert same(read_checkpoint('timm://tiny'))
    asked = ['model.safetensors', 'pytorch_model.bin']
    assert [request.path for request in server.requests] == [
        f'/timm/tiny/resolve/main/{name}' for name in asked
    ]
    server.files.clear()
    assert same(read_checkpoint('timm://tiny'))
    assert same(CheckpointLoader.load_checkpoint('timm://tiny'))  # MMEngine's


def test_a_token_goes_to_the_hub_and_not_where_it_redirects_to(
    server, monkeypatch, tmp_path, weights
):
    (tmp_path / 'huggingface').mkdir()
    (tmp_path / 'huggingface' / 'token').write_text('of-the-file\n')
    monkeypatch.setenv('HF_ENDPOINT', server.url)
    with serve({'/blob': weights}) as storage:
        for name in 'ab':
            server.moved[f'/org/{name}/resolve/main/x.bin'] = f'{storage.url}/blob'
        assert same(read_checkpoint('hf://org/a/x.bin'))
        monkeypatch.setenv('HF_TOKEN', 'of-the-environment')
        assert same(read_checkpoint('hf://org/b/x.bin'))
        assert [r.headers.get('Authorization') for r in server.requests] == [
            'Bearer of-the-file',
            'Bearer of-the-environment',
        ]
        assert [r.headers.get('Authorization') for r in storage.requests] == [None, None]


def test_a_gated_file_says_how_to_get_it(server, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', server.url)
    path = '/facebook/dinov3-convnext-base-pretrain-lvd1689m/resolve/main/model.safetensors'
    server.files[path] = 401
    with pytest.raises(FileNotFoundError, match=r'dinov3_convnext_base: .* accepts their licence'):
        local_file('dinov3_convnext_base')
    with pytest.raises(FileNotFoundError, match=r'asks to accept its terms .* set HF_TOKEN'):
        local_file('hf://facebook/dinov3-convnext-base-pretrain-lvd1689m')


# What is in a file


def test_every_kind_of_weights_file_is_read_whatever_its_name(tmp_path):
    path = tmp_path / 'weights.any'
    torch.save(TENSORS, path)
    assert same(read_checkpoint(path))
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(path))
    save_file(TENSORS, path)
    assert same(read_checkpoint(path))


def test_views_within_what_the_file_holds_are_fine(tmp_path):
    values = torch.arange(6.0)
    views = dict(a=values[2:], b=values.view(2, 3).T, c=values.expand(1, -1), d=torch.zeros(0, 5))
    torch.save(views, tmp_path / 'weights.pth')
    checkpoint = read_checkpoint(tmp_path / 'weights.pth')
    assert all(torch.equal(checkpoint[name], view) for name, view in views.items())


def test_a_file_may_be_saved_over_while_its_tensors_are_in_use(tmp_path):
    path = tmp_path / 'weights.pth'
    for save in (torch.save, save_file):
        save({'w': torch.ones(100_000)}, path)
        tensor = read_checkpoint(path)['w']
        save({'w': torch.zeros(1)}, path)
        assert tensor.sum() == 100_000


def test_plain_values_beside_the_tensors_are_fine(tmp_path):
    history = HistoryBuffer([1.0, 0.5], [1, 1])
    args = argparse.Namespace(lr=1e-4, layer_decay=0.7, sizes=[1, 2])
    beside = dict(args=args, best=np.float64(0.8), message_hub=dict(loss=history), epoch=3)
    torch.save(dict(model=TENSORS, **beside), tmp_path / 'weights.pth')
    checkpoint = read_checkpoint(tmp_path / 'weights.pth')
    assert same(checkpoint) and checkpoint['args'].layer_decay == 0.7


class RunsCode:
    """A pickle that runs code when it is loaded."""

    def __reduce__(self):
        return os.system, ('echo code from a checkpoint',)


def holds_itself():
    cycle = dict(TENSORS)
    cycle['model'] = cycle
    return cycle


def unfolds_a_million_times():
    content = dict(TENSORS)
    for _ in range(10):
        content = {name: content for name in 'abcd'}
    return content


def archive(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, 'w', compression) as target:
        for name, content in members.items():
            target.writestr(f'archive/{name.replace("_", ".")}', content)


def zip_bomb(path):
    archive(path, zipfile.ZIP_DEFLATED, data_pkl=bytes(10_000_000))


def torchscript(path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.script(torch.nn.Linear(2, 2)).save(path)


def cut(by, **kwargs):
    def write(path):
        torch.save(dict(TENSORS, more=torch.zeros(1000)), path, **kwargs)
        path.write_bytes(path.read_bytes()[:-by])

    return write


def cut_safetensors(path):
    save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-4])


def saved(content, **kwargs):
    return lambda path: torch.save(content, path, **kwargs)


def raw(content):
    return lambda path: path.write_bytes(content)


NO_WEIGHTS = {
    'an empty file': (raw(b''), 'the file is empty'),
    'a web page': (raw(b'\n<!DOCTYPE html><html>Sign in</html>'), 'is a web page'),
    'an error message': (raw(b'{"error": "no access"}'), 'is JSON text'),
    'a git-LFS pointer': (
        raw(b'version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 3\n'),
        'git lfs pull',
    ),
    'something else': (raw(b'\x89PNG\r\n\x1a\n'), 'no weights file; it begins with'),
    'gzip': (raw(b'\x1f\x8b\x08'), 'compressed with gzip'),
    'a plain pickle': (
        lambda path: path.write_bytes(pickle.dumps({'a': [1.0]})),
        'a pickle that torch.save did not write',
    ),
    'code': (saved(dict(TENSORS, x=RunsCode())), r'refused: it asks for (posix|nt)\.system'),
    'code in the old format': (
        saved(dict(TENSORS, x=RunsCode()), _use_new_zipfile_serialization=False),
        r'refused: it asks for (posix|nt)\.system',
    ),
    'a whole module': (saved(torch.nn.Linear(2, 2)), r'asks for torch.nn.modules.linear.Linear'),
    'a program': (torchscript, 'is a TorchScript program'),
    'a cut archive': (cut(200), 'incomplete or damaged'),
    'half an archive': (cut(3000), 'incomplete or damaged'),
    'a cut old file': (cut(8, _use_new_zipfile_serialization=False), 'incomplete or damaged'),
    'a cut safetensors': (cut_safetensors, 'incomplete or damaged'),
    'another archive': (lambda path: archive(path, readme_txt='hello'), "not one of torch.save's"),
    'a broken pickle': (lambda path: archive(path, data_pkl=b'\x80\x02}q'), 'damaged'),
    'a zip bomb': (zip_bomb, 'refused: its .* bytes unpack to 10,000,000'),
    'no tensors': (saved(dict(model=dict(a=1), epoch=3)), 'holds no tensors'),
    'a tensor alone': (saved(torch.zeros(3)), 'holds a Tensor, not tensors by name'),
    'a cycle': (saved(holds_itself()), 'hold each other without end'),
    'a dict that unfolds': (saved(unfolds_a_million_times()), 'hold each other without end'),
    'a value that stands for many': (
        saved(dict(model={'stages.0.0.gamma': torch.zeros(1).expand(2**24, 2**24)})),
        r'refused: model.stages.0.0.gamma, \(16777216, 16777216\), takes 1,125,899,906,842,624 '
        r'bytes, of which the file holds 4; .* contiguous\(\)',
    ),
    'the same in an optimizer': (
        saved(dict(model=TENSORS, optimizer=dict(state={0: dict(step=torch.ones(1).expand(2))}))),
        r'refused: optimizer.state.0.step, \(2,\), takes 8 bytes, of which the file holds 4',
    ),
}


@pytest.mark.parametrize('kind', NO_WEIGHTS)
def test_a_file_that_is_no_weights_is_refused_and_leaves_the_model_as_it_was(kind, tmp_path, capfd):
    write, message = NO_WEIGHTS[kind]
    path = tmp_path / 'weights.pth'
    write(path)
    backbone = ConvNeXt(dict(depths=(1, 1, 1, 1), channels=(2, 2, 2, 2)))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        ConvNeXtPretrained(str(path))(backbone)
    assert str(path) in str(error.value)
    assert 'code from a checkpoint' not in capfd.readouterr().out
    assert all(torch.equal(value, before[n]) for n, value in backbone.state_dict().items())
