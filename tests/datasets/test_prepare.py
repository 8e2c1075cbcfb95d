"""Published data sets are checked and fetched: small ones from a local server, and real subsets."""

import dataclasses
import hashlib
import io
import json
import stat
import zipfile
from pathlib import PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from convnext_mm.cli.main import MODULES
from convnext_mm.cli.prepare import check_published
from convnext_mm.datasets.published import fetch
from convnext_mm.datasets.published.catalogue import (
    ADE20K,
    COCO,
    Archive,
    PublishedDataset,
    PublishedSplit,
)
from convnext_mm.datasets.published.fetch import unzip
from convnext_mm.errors import UserError
from tests.conftest import ROOT, run_tool
from tests.servers import serve

DATA = ROOT.parent / 'shared' / 'data'


def jpg(size=(8, 6)):
    return picture(np.zeros((size[1], size[0], 3), np.uint8), 'jpeg')


def png(value, size=(8, 6)):
    return picture(np.full((size[1], size[0]), value, np.uint8), 'png')


def picture(array, kind):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def coco_json(names):
    images = [dict(id=i, file_name=name) for i, name in enumerate(names)]
    return json.dumps(dict(images=images, annotations=[], categories=[])).encode()


TRAIN = [f'{i:012d}.jpg' for i in range(6)]
VAL = ['000000000100.jpg', '000000000101.jpg']
COCO_ARCHIVES = {
    'annotations_trainval2017.zip': {
        'annotations/instances_train2017.json': coco_json(TRAIN),
        'annotations/instances_val2017.json': coco_json(VAL),
        'annotations/captions_val2017.json': b'{}',
    },
    'val2017.zip': {f'val2017/{name}': jpg() for name in VAL},
    'train2017.zip': {f'train2017/{name}': jpg() for name in TRAIN},
}
ADE_STEMS = {
    'training': ['ADE_train_00000001', 'ADE_train_00000002'],
    'validation': ['ADE_val_00000001'],
}
ADE_ARCHIVES = {
    'ADEChallengeData2016.zip': {
        f'ADEChallengeData2016/{kind}/{split}/{stem}.{suffix}': data
        for kind, suffix, data in (('images', 'jpg', jpg()), ('annotations', 'png', png(150)))
        for split, stems in ADE_STEMS.items()
        for stem in stems
    }
}


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def published():
    """Serve small copies of COCO and ADE20K, their tables adapted to them in size and address."""
    zips = {
        f'/{name}': zipped(members) for name, members in {**COCO_ARCHIVES, **ADE_ARCHIVES}.items()
    }
    with serve(zips) as server:
        yield SimpleNamespace(
            server=server,
            coco=smaller(COCO, server, [len(TRAIN), len(VAL)]),
            ade=smaller(ADE20K, server, [len(stems) for stems in ADE_STEMS.values()]),
        )


def smaller(dataset: PublishedDataset, server, counts) -> PublishedDataset:
    def archive(real: Archive) -> Archive:
        data = server.files[f'/{real.name}']
        return dataclasses.replace(
            real,
            url=f'{server.url}/{real.name}',
            size=len(data),
            md5=hashlib.md5(data).hexdigest(),
            unzipped_gb=1e-5,
        )

    def split(real: PublishedSplit, count: int) -> PublishedSplit:
        return dataclasses.replace(real, count=count)

    return dataclasses.replace(
        dataset,
        splits=tuple(map(split, dataset.splits, counts)),
        archives=tuple(map(archive, dataset.archives)),
    )


@pytest.fixture
def run(capsys):
    """A function that runs a tool, and returns its exit code and output."""

    def run(dataset, *arguments):
        code = check_published(dataset, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out + err

    return run


def lay_out(root, archives, top=''):
    for members in archives.values():
        for name, data in members.items():
            path = root / PurePosixPath(name).relative_to(top)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root


@pytest.fixture
def coco(tmp_path):
    return lay_out(tmp_path / 'coco', COCO_ARCHIVES)


@pytest.fixture
def ade(tmp_path):
    return lay_out(tmp_path / 'ade', ADE_ARCHIVES, 'ADEChallengeData2016')


# --- checking


def test_a_complete_coco_passes(published, coco, run):
    code, text = run(published.coco, coco)
    assert code == 0 and 'Complete.' in text
    assert 'subset' not in text and 'missing' not in text and 'error' not in text


def test_a_complete_ade20k_passes(published, ade, run):
    code, text = run(published.ade, ade)
    assert code == 0 and 'class ids 0 to 150' in text
    assert 'subset' not in text


def test_without_any_file_every_archive_is_named_and_nothing_is_created(published, tmp_path, run):
    code, text = run(published.coco, tmp_path / 'coco')
    assert code == 1
    for archive in published.coco.archives:
        assert archive.url in text
    assert f'convnext-mm prepare-coco {tmp_path}/coco --download' in text
    assert 'all 6 images are missing' in text and 'ln -s /path/to/coco' in text
    assert list(tmp_path.iterdir()) == [] and published.server.requests == []


def test_missing_and_empty_images_are_counted_and_the_first_are_named(published, coco, run):
    for name in TRAIN[:3]:
        (coco / 'train2017' / name).unlink()
    (coco / 'train2017' / TRAIN[3]).write_bytes(b'')
    code, text = run(published.coco, coco)
    assert code == 1
    assert '2 of 6 images; 4 missing or empty' in text
    assert f'{TRAIN[0]}, {TRAIN[1]}, {TRAIN[2]} and 1 more' in text
    assert 'train2017.zip' in text and 'val2017.zip' not in text


def test_a_cut_annotation_file_is_found(published, coco, run):
    path = coco / 'annotations' / 'instances_val2017.json'
    path.write_bytes(path.read_bytes()[:-9])
    code, text = run(published.coco, coco)
    assert code == 1 and 'cut off' in text and 'annotations_trainval2017.zip' in text


def test_a_folder_in_another_place_is_pointed_out(published, coco, run):
    (coco / 'images').mkdir()
    (coco / 'val2017').rename(coco / 'images' / 'val2017')
    code, text = run(published.coco, coco)
    assert code == 1
    assert f'there is {coco}/images/val2017: move or link it to {coco}/val2017' in text


def test_a_link_to_nowhere_is_an_error(published, tmp_path, run):
    (tmp_path / 'coco').symlink_to('/path/to/coco')
    code, text = run(published.coco, tmp_path / 'coco')
    assert code == 2 and 'is a link to /path/to/coco, which does not exist' in text


def test_a_subset_is_judged_by_its_own_annotations(published, coco, run):
    (coco / 'annotations' / 'instances_train2017.json').write_bytes(coco_json(TRAIN[:2]))
    code, text = run(published.coco, coco)
    assert code == 0 and 'a subset of COCO 2017: 2 training images (published: 6)' in text
    (coco / 'train2017' / TRAIN[1]).unlink()
    code, text = run(published.coco, coco, '--download')
    assert code == 1 and '1 missing' in text and 'A download cannot complete a subset' in text
    assert published.server.requests == []


def test_an_incompletely_extracted_ade20k_is_not_a_subset(published, ade, run):
    (ade / 'images' / 'training' / 'ADE_train_00000002.jpg').unlink()
    code, text = run(published.ade, ade)
    assert code == 1 and '1 missing or empty: ADE_train_00000002.jpg' in text
    assert 'ADEChallengeData2016.zip' in text and 'subset' not in text


def test_in_a_subset_too_each_image_needs_its_annotation(published, ade, run):
    (ade / 'images' / 'training' / 'mine.jpg').write_bytes(jpg())
    code, text = run(published.ade, ade)
    assert code == 1 and '1 missing or empty: mine.png' in text


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (png(151), 'has class id 151, above 150'),
        (png(1, size=(4, 4)), 'is 4x4, its image 8x6'),
        (picture(np.zeros((6, 8, 3), np.uint8), 'png'), 'has 3 channels instead of class ids'),
    ],
)
def test_annotations_that_do_not_fit_are_named(published, ade, run, content, complaint):
    (ade / 'annotations' / 'training' / 'ADE_train_00000001.png').write_bytes(content)
    code, text = run(published.ade, ade)
    assert code == 1 and f'ADE_train_00000001.png {complaint}' in text
    assert 'Remove the files named above' in text


# --- fetching


def test_all_of_coco_is_downloaded_and_unzipped(published, tmp_path, run):
    root = tmp_path / 'new' / 'coco'
    code, text = run(published.coco, root, '--download')
    assert code == 0, text
    assert (root / 'train2017' / TRAIN[-1]).read_bytes() == jpg()
    assert COCO.terms in text and f'rm {root}/annotations_trainval2017.zip' in text
    assert list(root.rglob('*.part')) == []


def test_the_top_folder_of_the_ade20k_archive_becomes_the_root(published, tmp_path, run):
    root = tmp_path / 'ade20k'
    code, text = run(published.ade, root, '--download')
    assert code == 0, text
    assert (root / 'images' / 'validation' / 'ADE_val_00000001.jpg').exists()


def test_a_second_run_downloads_nothing(published, tmp_path, run):
    run(published.coco, tmp_path, '--download')
    before = len(published.server.requests)
    assert run(published.coco, tmp_path, '--download')[0] == 0
    assert len(published.server.requests) == before == 3


def test_only_the_archive_that_is_needed_is_downloaded(published, coco, run):
    (coco / 'val2017' / VAL[0]).unlink()
    assert run(published.coco, coco, '--download')[0] == 0
    assert [request.path for request in published.server.requests] == ['/val2017.zip']


def test_zip_files_in_another_folder_are_used_there(published, tmp_path, run):
    archives = tmp_path / 'zips'
    archives.mkdir()
    for name, data in published.server.files.items():
        (archives / name[1:]).write_bytes(data)
    published.server.files.clear()
    code, text = run(published.coco, tmp_path / 'coco', '--archives', archives)
    assert code == 1 and 'To unzip it' in text and f'--archives {archives} --download' in text
    code, text = run(published.coco, tmp_path / 'coco', '--archives', archives, '--download')
    assert code == 0, text
    assert published.server.requests == []


def test_a_download_that_was_begun_by_hand_is_continued(published, coco, run):
    data = published.server.files['/val2017.zip']
    (coco / 'val2017' / VAL[0]).unlink()
    (coco / 'val2017.zip').write_bytes(data[:100])
    assert run(published.coco, coco, '--download')[0] == 0
    assert [request.range for request in published.server.requests] == ['bytes=100-']


def test_a_page_saved_as_zip_is_an_error(published, coco, run):
    (coco / 'val2017' / VAL[0]).unlink()
    (coco / 'val2017.zip').write_bytes(b'<html>')
    code, text = run(published.coco, coco, '--download')
    assert code == 2 and 'is no zip file: remove it' in text


def test_an_interrupted_extraction_is_completed_and_cut_files_are_replaced(published, coco, run):
    (coco / 'train2017' / TRAIN[4]).write_bytes(jpg()[:10])
    (coco / 'train2017' / TRAIN[5]).unlink()
    untouched = (coco / 'train2017' / TRAIN[0]).stat().st_mtime_ns
    assert run(published.coco, coco, '--download')[0] == 0
    assert (coco / 'train2017' / TRAIN[4]).read_bytes() == jpg()
    assert (coco / 'train2017' / TRAIN[0]).stat().st_mtime_ns == untouched


def test_a_cut_png_is_found_and_replaced(published, ade, run):
    path = ade / 'annotations' / 'training' / 'ADE_train_00000001.png'
    path.write_bytes(png(150)[:-20])
    code, text = run(published.ade, ade)
    assert code == 1 and 'ADE_train_00000001.png cannot be read' in text
    assert run(published.ade, ade, '--download')[0] == 0
    assert path.read_bytes() == png(150)


def test_damaged_files_of_the_right_size_are_found_and_replaced(published, ade, run):
    paths = [
        ade / 'annotations' / 'training' / 'ADE_train_00000001.png',
        ade / 'images' / 'training' / 'ADE_train_00000001.jpg',
        ade / 'images' / 'validation' / 'ADE_val_00000001.jpg',
    ]
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(bytes(path.stat().st_size))
    paths.append(ade / 'annotations' / 'training' / 'ADE_train_00000002.png')
    whole.append(png(150))
    paths[-1].write_bytes(whole[-1][:8] + b'\0\0\0\x04' + whole[-1][12:])  # a header too short
    sound = ade / 'images' / 'training' / 'ADE_train_00000002.jpg'
    untouched = sound.stat().st_mtime_ns
    code, text = run(published.ade, ade)
    assert code == 1 and all(f'{path.name} cannot be read' in text for path in paths)
    code, text = run(published.ade, ade, '--download')
    assert code == 0, text
    assert [path.read_bytes() for path in paths] == whole
    assert sound.stat().st_mtime_ns == untouched


def test_a_damaged_annotation_file_of_the_right_size_is_replaced(published, coco, run):
    path = coco / 'annotations' / 'instances_val2017.json'
    path.write_bytes(bytes(path.stat().st_size))
    (coco / 'annotations_trainval2017.zip').write_bytes(
        published.server.files['/annotations_trainval2017.zip']
    )
    code, text = run(published.coco, coco)
    assert code == 1 and 'it names no images' in text and 'To unzip it' in text
    code, text = run(published.coco, coco, '--download')
    assert code == 0, text
    assert path.read_bytes() == coco_json(VAL)


def test_a_damaged_file_of_a_subset_is_not_replaced(published, ade, run):
    (ade / 'images' / 'training' / 'ADE_train_00000002.jpg').unlink()
    (ade / 'annotations' / 'training' / 'ADE_train_00000002.png').unlink()
    path = ade / 'annotations' / 'training' / 'ADE_train_00000001.png'
    path.write_bytes(b'mine, and damaged')
    (ade / 'images' / 'validation' / 'ADE_val_00000001.jpg').unlink()
    code, text = run(published.ade, ade, '--download')
    assert code == 1 and 'A download cannot complete a subset' in text
    assert path.read_bytes() == b'mine, and damaged'


def test_an_interrupted_unzip_continues_in_the_next_run(published, tmp_path, run, monkeypatch):
    with monkeypatch.context() as patch:
        files = []

        def interrupted(source, target):
            files.append(target)
            if len(files) == 3:
                raise KeyboardInterrupt
            rename(source, target)

        rename = fetch.os.replace
        patch.setattr(fetch, 'os', SimpleNamespace(replace=interrupted))
        archive = tmp_path / 'train2017.zip'
        archive.write_bytes(published.server.files['/train2017.zip'])
        with pytest.raises(KeyboardInterrupt):
            unzip(archive, tmp_path, Console())
    assert len(list(tmp_path.glob('train2017/*.jpg'))) == 2
    code, text = run(published.coco, tmp_path, '--download')
    assert code == 0, text
    assert '/train2017.zip' not in [request.path for request in published.server.requests]
    assert list(tmp_path.rglob('*.part')) == []


def test_the_files_of_a_subset_are_not_overwritten(published, coco, run):
    mine = coco_json(TRAIN[:2])
    (coco / 'annotations' / 'instances_train2017.json').write_bytes(mine)
    (coco / 'annotations' / 'instances_val2017.json').unlink()
    code, text = run(published.coco, coco, '--download')
    assert code == 0, text
    assert (coco / 'annotations' / 'instances_train2017.json').read_bytes() == mine


def test_without_network_the_message_says_what_to_do_by_hand(published, tmp_path, run):
    published.server.files.clear()
    code, text = run(published.coco, tmp_path / 'coco', '--download')
    assert code == 2
    assert f'put it at {tmp_path}/coco/annotations_trainval2017.zip' in text
    assert 'Traceback' not in text
    assert list(tmp_path.iterdir()) == []  # so that `ln -s` does what it should


def test_a_damaged_zip_file_is_an_error(published, coco, run):
    (coco / 'val2017' / VAL[0]).unlink()
    data = bytearray(published.server.files['/val2017.zip'])
    data[60] ^= 1
    (coco / 'val2017.zip').write_bytes(data)
    code, text = run(published.coco, coco, '--download')
    assert code == 2 and 'is damaged' in text and 'remove it' in text
    assert not (coco / 'val2017' / VAL[0]).exists()


@pytest.mark.parametrize('name', ['../out.txt', '/out.txt', 'a/../../out.txt', '..\\out.txt'])
def test_a_zip_file_that_leaves_its_folder_is_not_unzipped(tmp_path, name):
    archive = tmp_path / 'evil.zip'
    archive.write_bytes(zipped({'good.txt': b'', name: b''}))
    with pytest.raises(UserError, match='outside'):
        unzip(archive, tmp_path / 'root', Console())
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_a_device_in_a_zip_file_is_refused(tmp_path, kind):
    archive = tmp_path / 'evil.zip'
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('good.txt', b'')
        member = zipfile.ZipInfo('link')
        member.create_system, member.external_attr = 3, (kind | 0o777) << 16
        file.writestr(member, '/etc/passwd')
    with pytest.raises(UserError, match='link, which is no plain file: nothing was unzipped'):
        unzip(archive, tmp_path / 'root', Console())
    assert list(tmp_path.iterdir()) == [archive]


def test_a_file_in_place_of_the_root_itself_is_refused(tmp_path):
    archive = tmp_path / 'evil.zip'
    archive.write_bytes(zipped({'top': b'evil'}))
    with pytest.raises(UserError, match='no plain file'):
        unzip(archive, tmp_path / 'root', Console(), top='top')
    assert list(tmp_path.iterdir()) == [archive]


def test_a_zip_file_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    archive = tmp_path / 'bomb.zip'
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('zeros', bytes(10**6))
    with pytest.raises(UserError, match='bytes unpack to 1,000,000, more than 100 times'):
        unzip(archive, tmp_path / 'root', Console())
    assert list(tmp_path.iterdir()) == [archive]


def test_a_zip_file_with_a_file_in_place_of_a_folder_is_one_clear_line(tmp_path):
    archive = tmp_path / 'odd.zip'
    archive.write_bytes(zipped({'a': b'1', 'a/b': b'2'}))
    with pytest.raises(UserError, match='cannot be unzipped into'):
        unzip(archive, tmp_path / 'root', Console())


def test_a_full_disk_is_an_error_before_anything_is_downloaded(
    published, tmp_path, run, monkeypatch
):
    monkeypatch.setattr(fetch.shutil, 'disk_usage', lambda path: SimpleNamespace(free=10))
    code, text = run(published.coco, tmp_path, '--download')
    assert code == 2 and 'free some space' in text
    assert published.server.requests == []


def test_an_archive_with_a_wrong_checksum_is_not_unzipped(published, coco, run):
    (coco / 'val2017' / VAL[0]).unlink()
    data = published.server.files['/val2017.zip']
    published.server.files['/val2017.zip'] = data[:-1] + b'x'
    code, text = run(published.coco, coco, '--download')
    assert code == 2 and 'arrived with md5' in text
    assert not (coco / 'val2017' / VAL[0]).exists() and not (coco / 'val2017.zip').exists()


def test_unusual_names_of_folders_are_quoted_in_commands(published, tmp_path, run):
    _, text = run(published.coco, tmp_path / '[old] data')
    assert f"prepare-coco '{tmp_path}/[old] data' --download" in text


# --- the tools


@pytest.mark.parametrize(
    ('tool', 'folder', 'images'),
    [('prepare_coco.py', 'coco_mini', 102), ('prepare_ade20k.py', 'scenes_ade_layout', 21)],
)
def test_real_subsets_pass(tool, folder, images):
    if not (DATA / folder).is_dir():
        pytest.skip(f'no {folder}')
    done = run_tool(tool, DATA / folder)
    assert done.code == 0, done.output
    assert f'{images} training images' in done.output


@pytest.mark.parametrize('dataset', [COCO, ADE20K])
def test_every_part_is_in_an_archive_and_every_tool_exists(dataset):
    held = {part for archive in dataset.archives for part in archive.holds}
    assert held == {p for split in dataset.splits for p in (split.images, split.annotations)}
    assert dataset.checked_by in MODULES
