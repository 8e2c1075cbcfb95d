"""No file runs code when it is read: for each reader, files that try to leave a mark.

docs/security.md lists the readers. The archives of published data sets are in
tests/datasets/test_prepare.py, label maps in tests/evaluation/test_label_map_files.py.
"""

import argparse
import io
import json
import os
import pickle
import re
import struct
from collections import OrderedDict
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from rich.console import Console
from safetensors.torch import save_file

from convnext_mm.cli.exit_codes import exit_code
from convnext_mm.config.classes import checkpoint_metainfo
from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.config.reading import load_config
from convnext_mm.datasets.image_files import read_size
from convnext_mm.datasets.own.adapt import adapt_to_own_data
from convnext_mm.diagnose.inspect_weights import inspect_file
from convnext_mm.errors import UserError
from convnext_mm.evaluation.report.page import write_report
from convnext_mm.evaluation.results import pickled
from convnext_mm.messages.findings import error, show
from convnext_mm.weights.files import read_checkpoint
from tests.datasets.test_prepare import jpg
from tests.engine.toy_training import config as toy_config
from tests.engine.toy_training import run
from tests.evaluation.test_report_page import detector_results


@pytest.fixture
def canary(tmp_path):
    """The path of a file that no test may find when it ends."""
    path = tmp_path / 'canary'
    yield path
    assert not path.exists(), 'code of a file was run'


def code(canary):
    return f'open({str(canary)!r}, "w").close()'


class Payload:
    """Pickled, it is a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(canary):
    """Return objects that run code when a plain unpickler reads them."""
    return {
        'exec': Payload(exec, code(canary)),
        'os.system': Payload(os.system, f'touch {canary}'),
        'getattr': Payload(getattr, Payload(__import__, 'os'), 'system'),
        'torch.load': Payload(torch.load, 'other.pth'),
        'os.mkdir': Payload(os.mkdir, str(canary)),
        'an array': Payload(np.ndarray.tofile, np.zeros(1), str(canary)),
        'a subclass': Payload(type, 'x', (), {}),
        'a method': Payload(HistoryBuffer.register_statistics, print),
    }


def test_the_payloads_do_run_where_nothing_stops_them(tmp_path):
    for name in ('exec', 'os.system', 'os.mkdir'):
        pickle.loads(pickle.dumps(payloads(tmp_path / name)[name]))
        assert (tmp_path / name).exists()


KINDS = tuple(payloads('x'))


# --- weights and checkpoints


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('new_format', [True, False])
def test_weights_run_no_code(kind, new_format, canary, tmp_path):
    path = tmp_path / 'weights.pth'
    content = dict(state_dict={'a': torch.zeros(1)}, meta=payloads(canary)[kind])
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(UserError, match=r'the file is refused|incomplete or damaged'):
        read_checkpoint(str(path))
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match='can run code and is not read'):
        read_checkpoint(str(path))


def test_a_torchscript_program_is_no_weights_file(canary, tmp_path):
    class Program(torch.nn.Module):
        def forward(self, x):
            return x

    path = tmp_path / 'program.pth'
    torch.jit.save(torch.jit.script(Program()), str(path))
    with pytest.raises(UserError, match='TorchScript program, which is code'):
        read_checkpoint(str(path))


def test_the_metadata_of_safetensors_are_text(canary, tmp_path):
    path = tmp_path / 'weights.safetensors'
    save_file({'a': torch.zeros(1)}, path, metadata=dict(format=code(canary)))
    assert list(read_checkpoint(str(path))) == ['a']


@pytest.mark.parametrize('key', ['cfg', 'config', 'env_info'])
def test_a_config_inside_a_checkpoint_is_text(key, canary, tmp_path):
    path = tmp_path / 'weights.pth'
    meta = {key: code(canary), 'dataset_meta': dict(classes=(code(canary),))}
    state = {'backbone.downsample_layers.0.0.weight': torch.zeros(96, 3, 4, 4)}
    torch.save(dict(meta=meta, state_dict=state), path)
    content = read_checkpoint(str(path))
    assert checkpoint_metainfo(content)['classes'] == (code(canary),)
    with pytest.raises(UserError):
        inspect_file(str(path))


def test_a_resumed_training_runs_no_config_of_its_checkpoint(canary, tmp_path):
    cfg = toy_config(tmp_path / 'work')
    run(cfg, kill_after=2)
    path = tmp_path / 'work' / 'iter_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta'] |= dict(config=code(canary), cfg=code(canary))
    torch.save(checkpoint, path)
    log = {}
    run(cfg, log, kill_after=4, resume=True)
    assert {2, 3} <= log.keys()  # it did resume


@pytest.mark.parametrize('kind', ['exec', 'a method'])
def test_a_training_does_not_resume_from_code(kind, canary, tmp_path):
    cfg = toy_config(tmp_path / 'work')
    run(cfg, kill_after=2)
    path = tmp_path / 'work' / 'iter_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['more'] = payloads(canary)[kind]
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match=r'is refused: it asks for .*, which is no tensor'):
        run(cfg, resume=True)


# --- results


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('protocol', [0, 2, 5])
def test_results_run_no_code(kind, protocol, canary, tmp_path):
    path = tmp_path / 'results.pkl'
    path.write_bytes(pickle.dumps([dict(img_id=payloads(canary)[kind])], protocol))
    with pytest.raises(
        UserError, match=r'is refused: it asks for .*, which is no array and may run'
    ):
        pickled.read(path)


def opcodes(*parts):
    """Assemble a pickle: names become GLOBAL opcodes, other objects are pickled."""
    written = b''
    for part in parts:
        written += part if isinstance(part, bytes) else pickle.dumps(part, 2)[2:-1]
    return b'\x80\x02' + written + b'.'


RECONSTRUCT = b'cnumpy.core.multiarray\n_reconstruct\n'
NDARRAY, DTYPE = b'cnumpy\nndarray\n', b'cnumpy\ndtype\n'
LOAD_BYTES = b'ctorch.storage\n_load_from_bytes\n'
POINTERS = pickle.dumps(struct.pack('<q', 0x4141414141414141), 3)[2:-1]
STORAGE = torch.zeros(4).__reduce_ex__(2)[1][0].__reduce__()[1]


@pytest.mark.parametrize(
    'data',
    [
        # An array of Python objects whose bytes are addresses, with and without forged flags.
        opcodes(
            RECONSTRUCT, NDARRAY, (0,), 'b', b'\x87R',
            b'(', 1, (1,), DTYPE, ('O8', False, True), b'R', False, POINTERS, b'tb',
        ),
        opcodes(
            RECONSTRUCT, NDARRAY, (0,), 'b', b'\x87R',
            b'(', 1, (1,), DTYPE, ('i8', False, True), b'R',
            (3, '|', None, None, None, -1, -1, 63), b'b', False, POINTERS, b'tb',
        ),
        # A shape that needs more memory than there is.
        opcodes(
            RECONSTRUCT, NDARRAY, (0,), 'b', b'\x87R',
            b'(', 1, (2**40,), DTYPE, ('i8', False, True), b'R', False, POINTERS, b'tb',
        ),
        # A storage whose bytes are a pickle of their own.
        opcodes(LOAD_BYTES, (pickle.dumps(Payload(exec, '1/0'), 2),), b'R'),
        # Views beyond the memory of a tensor.
        opcodes(
            b'ctorch._utils\n_rebuild_tensor_v2\n',
            b'(', LOAD_BYTES,
            STORAGE, b'R',
            10**6, (4,), (1,), False, OrderedDict(), b'tR',
        ),
        opcodes(
            b'ctorch._utils\n_rebuild_tensor_v2\n',
            b'(', LOAD_BYTES,
            STORAGE, b'R',
            0, (10**12,), (0,), False, OrderedDict(), b'tR',
        ),
        # A function that gets other defaults and code, and an attribute of an allowed class.
        opcodes(DTYPE, (None, dict(__code__=1)), b'b'),
        opcodes(b'cnumpy\nndarray.tofile\n', ('canary',), b'R'),
        opcodes(b'cnumpy.ndarray\ntofile\n', ('canary',), b'R'),
        opcodes(b'ccollections\nOrderedDict.fromkeys.__self__\n', (), b'R'),
        # A name from the registry of extension codes, and a persistent id.
        b'\x80\x02\x82\x01.',
        b'\x80\x02X\x01\x00\x00\x00aQ.',
    ],
)  # fmt: skip
def test_forged_pickles_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'forged.pkl').write_bytes(data)
    with pytest.raises(UserError, match=r'forged.pkl (is refused|was not written by)'):
        pickled.read(tmp_path / 'forged.pkl')
    assert [path.name for path in tmp_path.iterdir()] == ['forged.pkl']


# --- data sets


def test_a_data_set_runs_no_code(canary, tmp_path):
    names = [code(canary), f"'); {code(canary)} #", f'" + {code(canary)} + "', f'%s {code(canary)}']
    root = tmp_path / 'data'
    for split in ('train', 'valid'):
        (root / split).mkdir(parents=True)
        (root / split / 'a.jpg').write_bytes(jpg((64, 64)))
        content = dict(
            images=[dict(id=1, file_name='a.jpg', width=64, height=64)],
            categories=[dict(id=i, name=name) for i, name in enumerate(names, 1)],
            annotations=[
                dict(id=i, image_id=1, category_id=i, bbox=[1, 1, 20, 20], area=400, iscrowd=0)
                for i in range(1, len(names) + 1)
            ],
        )
        (root / split / '_annotations.coco.json').write_text(json.dumps(content))
    cfg = load_config('configs/mask_rcnn/convnext_t_coco.py')
    cfg.work_dir = str(tmp_path / 'work')
    adapted = adapt_to_own_data(cfg, root)
    again = load_config(tmp_path / 'work' / 'own_data.py')
    for found in (adapted, again):
        (leaf,) = leaf_datasets(found.train_dataloader)
        assert tuple(leaf.metainfo.classes) == tuple(names)


@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.npy', 'a.tif'])
def test_a_pickle_in_place_of_an_image_is_no_image(name, canary, tmp_path):
    array = np.array([Payload(exec, code(canary))], object)
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    for data in (file.getvalue(), pickle.dumps(Payload(exec, code(canary)))):
        (tmp_path / name).write_bytes(data)
        assert read_size(tmp_path / name).error


# --- the report and the terminal

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&lt;$\\frac{'


class Tags(HTMLParser):
    """The scripts, handlers and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.handlers, self.addresses = 0, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == 'script' and ('type', 'application/json') not in attributes
        self.handlers += [key for key, _ in attributes if key.startswith('on')]
        self.addresses += [v for k, v in attributes if k in ('href', 'src', 'xlink:href', 'action')]


def test_no_name_becomes_a_part_of_the_report(small_detector, shapes_coco, tmp_path):
    annotations = json.loads((shapes_coco / 'annotations' / 'instances_val.json').read_text())
    names = [f'{HOSTILE}{i}' for i in range(6)]
    for category, name in zip(annotations['categories'], names):
        category['name'] = name
    (tmp_path / 'val.json').write_text(json.dumps(annotations))
    image = tmp_path / f'{HOSTILE.replace("/", "")}\udcff.jpg'
    results = detector_results(shapes_coco)
    image.write_bytes(jpg((64, 64)))
    for result in results:
        result['img_path'] = str(image)
    (tmp_path / 'config.py').write_text(
        small_detector + f'metainfo = dict(classes={names!r})\n'
        f"test_evaluator = dict(ann_file='{tmp_path}/val.json')\n"
        'test_dataloader = dict(dataset=dict(metainfo=metainfo))\n'
        f'work_name = {HOSTILE!r}\n'
    )
    log = tmp_path / 'run' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    lines = [dict(loss=1.0, lr=0.1, iter=1), dict(loss=HOSTILE, iter=2), [1], 'x', 7, None]
    lines += [dict(loss=1.0, iter=HOSTILE), dict(loss=10**400, lr=1e999, iter=3), {HOSTILE: 1.0}]
    log.write_bytes('\n'.join(map(json.dumps, lines)).encode() + b'\n\xff\n' + b'[' * 10**5)
    page = write_report(
        *(tmp_path / 'config.py', results),
        **dict(work_dir=tmp_path, weights=f'javascript:{HOSTILE}', name=f'{HOSTILE}.py'),
    )
    text = page.read_text()
    tags = Tags(text)
    assert (tags.scripts, tags.handlers) == (1, [])
    # The script writes the names in these data as text.
    data = re.findall('<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(data) == 3 and all('<' not in block for block in data)
    assert not re.search('innerHTML|insertAdjacentHTML|document.write', text)
    assert all(address.startswith(('#', 'data:')) for address in tags.addresses)
    assert 'alert(1)' in text  # the names are there, as text
    assert '<h2>Training</h2>' in text


ESCAPES = '\x1b]0;title\x07\x1b[2J\x9b31m\r\u202e'


def test_no_name_controls_the_terminal(capsys):
    def job(_):
        raise UserError(f'{ESCAPES}: no such file\nsecond line')

    assert exit_code(job, argparse.Namespace()) == 2
    printed = capsys.readouterr().err
    assert not re.search(r'[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]', printed)
    assert r'\x1b]0;title\x07' in printed and printed.count('\n') == 2
    file = io.StringIO()
    show([error(ESCAPES, ESCAPES, ESCAPES)], Console(file=file, force_terminal=False))
    assert not re.search(r'[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]', file.getvalue())
