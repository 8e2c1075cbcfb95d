"""From a source to tensors: caches, downloads, the Hugging Face Hub, and files without weights."""

import argparse
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from huggingface_hub import constants, file_download
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from convnext_mm import ConvNeXt, ConvNeXtPretrained
from convnext_mm.errors import DownloadError, MissingWeightsError, WeightsError
from convnext_mm.weights import files
from convnext_mm.weights.files import local_file, locate, read_checkpoint
from tests.servers import STALL, fill_hub_cache, serve

TENSORS = {'stages.0.0.gamma': torch.arange(6.0)}


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    """A machine without any downloaded file and without a token."""
    for name in list(os.environ):
        if name.startswith(('HF_', 'HUGGING')):
            monkeypatch.delenv(name)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    # huggingface_hub reads its environment variables when it is imported.
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'huggingface' / 'hub'))
    monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path / 'huggingface' / 'token'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
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
        ('s3://bucket/weights.pth', 'unknown kind of address; allowed: http://, .* hf://, timm://'),
        ('hf://name-alone', 'expected hf://org/name'),
        ('hf://org/../../etc/passwd', 'expected hf://org/name'),
        ('hf://org/name--a', r'^hf://org/name--a: '),
    ],
)
def test_a_source_without_a_file_is_a_clear_error(source, message):
    with pytest.raises(FileNotFoundError, match=message):
        local_file(source)


# URLs


def test_a_url_is_downloaded_once(server, weights):
    server.files['/tiny.pth'] = weights
    url = f'{server.url}/tiny.pth'
    assert same(read_checkpoint(url))
    server.files.clear()
    assert same(read_checkpoint(url))
    assert len(server.requests) == 1


def test_files_with_one_name_from_two_addresses_are_kept_apart(server):
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
def test_a_file_in_the_cache_of_torch_hub_is_used_without_network(tmp_path, source, name):
    path = tmp_path / 'torch' / 'hub' / 'checkpoints' / Path(name).name
    path.parent.mkdir(parents=True)
    path.write_bytes(b'weights')
    assert local_file(source) == path


def test_a_cut_download_is_resumed(server, monkeypatch, weights):
    monkeypatch.setattr('convnext_mm.weights.download.time.sleep', lambda seconds: None)
    server.files['/tiny.pth'], server.cut_after = weights, [500]
    assert local_file(f'{server.url}/tiny.pth').read_bytes() == weights
    assert [r.range for r in server.requests] == [None, 'bytes=500-']


def test_a_download_of_an_interrupted_process_is_resumed(server, weights):
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


def test_a_training_step_in_a_name_is_no_checksum(server):
    for folder, content in (('a', b'one'), ('b', b'other')):
        for name in ('step-00160000.pth', 'epoch-00000036.pt', 'saved-1700000000.pth'):
            server.files[f'/{folder}/{name}'] = content
    for path, content in server.files.items():
        assert local_file(server.url + path).read_bytes() == content


def test_decimal_digits_are_a_checksum_on_hosts_whose_names_end_in_one(server, monkeypatch):
    monkeypatch.setattr(files, 'CHECKSUM_HOSTS', ('127.0.0.1',))
    server.files['/tiny-00160000.pth'] = b'weights'
    with pytest.raises(FileNotFoundError, match='instead of 00160000, and was removed'):
        local_file(f'{server.url}/tiny-00160000.pth')


def test_of_several_processes_one_downloads(server, weights):
    server.files['/tiny.pth'] = weights
    paths = []
    # Threads compete for the lock like processes.
    threads = [
        Thread(target=lambda: paths.append(local_file(f'{server.url}/tiny.pth'))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and len(set(paths)) == 1 and len(server.requests) == 1


def test_a_file_that_cannot_be_downloaded_is_an_error_that_says_where_to_put_a_copy(
    server, monkeypatch
):
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
        assert isinstance(error.value, DownloadError)


# The Hugging Face Hub


@pytest.fixture
def hub(server, monkeypatch):
    """A server in place of the Hub."""
    point_hub_at(server.url, monkeypatch)
    return server


def point_hub_at(url, monkeypatch):
    """Do what HF_ENDPOINT does when huggingface_hub is imported."""
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    for module in (constants, file_download):
        template = f'{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
        monkeypatch.setattr(module, 'HUGGINGFACE_CO_URL_TEMPLATE', template, raising=False)
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # It pauses between its tries.


def test_a_file_in_the_hugging_face_cache_needs_no_network(tmp_path):
    cache = tmp_path / 'huggingface' / 'hub'
    repository = 'facebook/dinov3-convnext-tiny-pretrain-lvd1689m'
    path = fill_hub_cache(cache, repository, 'model.safetensors', b'dinov3')
    assert local_file(f'hf://{repository}') == path
    assert local_file(f'hf://{repository}/model.safetensors') == path
    assert local_file('dinov3_convnext_tiny') == locate('dinov3_convnext_tiny') == path
    path = fill_hub_cache(cache, 'timm/convnext_tiny.fb_in1k', 'pytorch_model.bin', b'timm')
    assert local_file('timm://convnext_tiny.fb_in1k') == path


def test_the_environment_variables_of_huggingface_hub_count(tmp_path):
    cache = tmp_path / 'my_home' / 'hub'
    path = fill_hub_cache(cache, 'org/a', 'model.safetensors', b'a')
    script = """
from convnext_mm.weights.files import local_file
print(local_file('hf://org/a'))
local_file('timm://convnext_small.fb_in1k')
"""
    environment = {**os.environ, 'HF_HOME': str(cache.parent), 'HF_HUB_OFFLINE': '1'}
    done = subprocess.run(
        [sys.executable, '-c', script], env=environment, capture_output=True, text=True
    )
    assert done.stdout == f'{path}\n'
    assert done.stderr.splitlines()[-1] == (
        'convnext_mm.errors.DownloadError: timm://convnext_small.fb_in1k cannot be downloaded: it '
        f'is not in the cache {cache}, and HF_HUB_OFFLINE is set. Download model.safetensors or '
        'pytorch_model.bin elsewhere from https://huggingface.co/timm/convnext_small.fb_in1k, and '
        'give the path of the file'
    )


def test_the_hub_is_asked_for_safetensors_first(hub, weights):
    hub.files['/timm/tiny/resolve/main/pytorch_model.bin'] = weights
    assert locate('timm://tiny') == f'{hub.url}/timm/tiny/resolve/main/model.safetensors'
    assert same(read_checkpoint('timm://tiny'))
    assert [request.path for request in hub.requests] == list(hub.files)
    hub.files.clear()
    assert same(read_checkpoint('timm://tiny'))
    assert same(CheckpointLoader.load_checkpoint('timm://tiny'))  # By MMEngine.


def test_the_token_of_the_user_goes_to_the_hub(hub, monkeypatch, weights):
    monkeypatch.setenv('HF_TOKEN', 'secret')
    hub.files['/org/a/resolve/main/x.bin'] = weights
    assert same(read_checkpoint('hf://org/a/x.bin'))
    assert [r.headers.get('authorization') for r in hub.requests] == ['Bearer secret']


def test_a_file_that_the_hub_does_not_give_is_an_error_with_a_remedy(hub):
    repository = '/facebook/dinov3-convnext-base-pretrain-lvd1689m'
    hub.files[f'{repository}/resolve/main/model.safetensors'] = 401
    with pytest.raises(DownloadError, match=r'accept them at .*/facebook/dinov3.*set HF_TOKEN'):
        local_file('dinov3_convnext_base')
    hub.files['/org/a/resolve/main/x.bin'] = 503
    with pytest.raises(DownloadError, match=r'hf://org/a/x.bin cannot be downloaded: 503 '):
        local_file('hf://org/a/x.bin')
    with pytest.raises(MissingWeightsError, match=r'the repository has no model.safetensors or '):
        local_file('hf://org/none')


def test_without_network_a_hub_file_is_one_error_with_a_remedy(monkeypatch, capfd):
    with serve({}) as closed:
        point_hub_at(closed.url, monkeypatch)
    with pytest.raises(DownloadError, match=r'no connection to .* give the path of the file'):
        local_file('hf://org/a')
    assert 'Retry' not in capfd.readouterr().err


# The content of a file


def test_the_suffix_of_a_weights_file_does_not_matter(tmp_path):
    path = tmp_path / 'weights.any'
    torch.save(TENSORS, path)
    assert same(read_checkpoint(path))
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(path))
    save_file(TENSORS, path)
    assert same(read_checkpoint(path))


def test_views_are_read(tmp_path):
    values = torch.arange(6.0)
    views = dict(a=values[2:], b=values.view(2, 3).T, c=values.expand(1, -1), d=torch.zeros(0, 5))
    torch.save(views, tmp_path / 'weights.pth')
    checkpoint = read_checkpoint(tmp_path / 'weights.pth')
    assert all(torch.equal(checkpoint[name], view) for name, view in views.items())


def test_a_file_may_be_overwritten_while_its_tensors_are_in_use(tmp_path):
    path = tmp_path / 'weights.pth'
    for save in (torch.save, save_file):
        save({'w': torch.ones(100_000)}, path)
        tensor = read_checkpoint(path)['w']
        save({'w': torch.zeros(1)}, path)
        assert tensor.sum() == 100_000


def test_plain_values_beside_the_tensors_are_read(tmp_path):
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


def expands_a_million_times():
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
    'another archive': (lambda path: archive(path, readme_txt='hello'), 'torch.save did not write'),
    'a broken pickle': (lambda path: archive(path, data_pkl=b'\x80\x02}q'), 'damaged'),
    'a zip bomb': (zip_bomb, 'refused: its .* bytes unpack to 10,000,000'),
    'no tensors': (saved(dict(model=dict(a=1), epoch=3)), 'holds no tensors'),
    'a tensor alone': (saved(torch.zeros(3)), 'holds a Tensor, no dict of tensors'),
    'a cycle': (saved(holds_itself()), 'contain each other endlessly'),
    'a dict that expands': (saved(expands_a_million_times()), 'contain each other endlessly'),
    'a value that stands for many': (
        saved(dict(model={'stages.0.0.gamma': torch.zeros(1).expand(2**24, 2**24)})),
        r'refused: model.stages.0.0.gamma with shape \(16777216, 16777216\) takes '
        r'1,125,899,906,842,624 bytes, but the file holds 4; .* contiguous\(\)',
    ),
    'the same in an optimizer': (
        saved(dict(model=TENSORS, optimizer=dict(state={0: dict(step=torch.ones(1).expand(2))}))),
        r'refused: optimizer.state.0.step with shape \(2,\) takes 8 bytes, but the file holds 4',
    ),
}


@pytest.mark.parametrize('kind', NO_WEIGHTS)
def test_a_file_without_weights_is_refused_and_leaves_the_model_unchanged(kind, tmp_path, capfd):
    write, message = NO_WEIGHTS[kind]
    path = tmp_path / 'weights.pth'
    write(path)
    backbone = ConvNeXt(dict(depths=(1, 1, 1, 1), channels=(2, 2, 2, 2)))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as error:
        ConvNeXtPretrained(str(path))(backbone)
    assert str(error.value).count(str(path)) == 1
    assert 'code from a checkpoint' not in capfd.readouterr().out
    assert all(torch.equal(value, before[n]) for n, value in backbone.state_dict().items())
