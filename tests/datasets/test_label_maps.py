"""The meaning of the ids in label maps, and the files that a folder of label maps may have."""

import os
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from convnext_mm.datasets.own.check import check_own_data, show_checked
from convnext_mm.datasets.own.write import write_data
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Level
from tests.conftest import ROOT
from tests.datasets.test_own_checks import save

SCENES = ROOT.parent / 'shared' / 'data' / 'scenes_ade_layout'
SIZE = (12, 8)
ADE20K_HEADER = 'Idx\tRatio\tTrain\tVal\tStuff\tName\n'


@pytest.fixture
def maps(tmp_path):
    """A function that writes images, label maps with these ids, and names; returns the folder."""

    def write(*ids, names=None, file='classes.txt', ade20k=False, suffix='.png', **options):
        images, folder = (
            ('images/training', 'annotations/training') if ade20k else ('images', 'ann')
        )
        for number, values in enumerate(ids):
            array = np.resize(np.array(values, np.uint8), SIZE[::-1])
            save(tmp_path / folder / f'{number}.png', array)
            save(tmp_path / images / f'{number}{suffix}', np.stack([array] * 3, -1), **options)
        if ade20k:
            for kind in ('images', 'annotations'):
                link = tmp_path / kind / 'validation'
                link.exists() or link.symlink_to(tmp_path / kind / 'training')
        if names is not None:
            (tmp_path / file).write_text(names)
        return tmp_path

    return write


def meaning(root):
    """The name of each id, and the texts of the findings besides classes without pixels."""
    checked = check_own_data(root)
    labels = checked.labels
    texts = [f.text for f in checked.findings if 'without pixels' not in f.what]
    texts = [text for text in texts if 'also in the training split' not in text]
    return dict(zip(labels.ids, labels.names)), texts


def table(*names, first=1):
    rows = (f'{i}\t0.1\t9\t9\t1\t{name}, of a kind\n' for i, name in enumerate(names, first))
    return ADE20K_HEADER + ''.join(rows)


# --- id 0


@pytest.mark.parametrize('ade20k', [True, False])
@pytest.mark.parametrize('ids', [(0, 1, 2, 3), (0, 1, 2), (1, 2), (0, 1, 3)])
def test_the_table_of_ade20k_counts_from_1_for_any_ids(maps, ids, ade20k):
    root = maps(
        ids, ids, names=table('wall', 'sky', 'tree'), file='objectInfo150.txt', ade20k=ade20k
    )
    assert meaning(root) == (
        {1: 'wall', 2: 'sky', 3: 'tree'},
        ['id 0 is not a class: objectInfo150.txt counts from 1'],
    )


def test_a_subset_of_ade20k_keeps_the_names_of_its_ids(tmp_path):
    if not SCENES.exists():
        pytest.skip('needs scenes_ade_layout')
    for folder in ('images', 'annotations'):
        (tmp_path / folder).symlink_to(SCENES / folder)
    names = [f'name {i}' for i in range(1, 151)]
    (tmp_path / 'objectInfo150.txt').write_text(table(*names))
    checked = check_own_data(tmp_path)
    assert not checked.errors and checked.labels.reduce_zero_label
    assert dict(zip(checked.labels.ids, checked.labels.names))[1] == 'name 1'
    ids = {
        int(i)
        for path in SCENES.glob('annotations/*/*.png')
        for i in np.unique(np.asarray(Image.open(path)))
    }
    assert max(ids) < 150  # So the highest id does not tell.


@pytest.mark.parametrize('names', ['0: sky\n1: tree\n2: road', '0:sky\ntree\n2 : road'])
@pytest.mark.parametrize('ids', [(0, 1, 2), (1, 2)])
def test_the_first_name_may_state_its_id(maps, names, ids):
    assert meaning(maps(ids, ids, names=names)) == ({0: 'sky', 1: 'tree', 2: 'road'}, [])
    for i in (2, 1, 0):
        names = names.replace(str(i), str(i + 1))
    assert meaning(maps(ids, ids, names=names)) == ({1: 'sky', 2: 'tree', 3: 'road'}, [])


@pytest.mark.parametrize(
    'ids, ade20k',
    [((0, 1, 2), False), ((0, 1, 2, 3), True)],  # no car, or no class for id 0; like ADE20K or not
)
def test_ids_that_do_not_prove_the_meaning_of_id_0_are_a_note_that_says_how_to_decide(
    maps, ids, ade20k
):
    root = maps(ids, ids, names='sky\ntree\nroad\ncar', ade20k=ade20k)
    names, texts = meaning(root)
    assert names == {0: 'sky', 1: 'tree', 2: 'road', 3: 'car'}
    assert texts == ['id 0 is the class sky, though the ids do not prove it']
    remedies = [f.remedy for f in check_own_data(root).findings if f.text in texts]
    assert remedies[0].endswith(f'write the first name in {root}/classes.txt as "1: sky"')


@pytest.mark.parametrize('ids, ade20k', [((1, 2), False), ((0, 1, 2), True), ((1, 2), True)])
def test_an_id_0_with_two_equally_likely_meanings_is_an_error(maps, ids, ade20k):
    root = maps(ids, ids, names='sky\ntree\nroad\ncar', ade20k=ade20k)
    (finding,) = check_own_data(root).errors
    assert finding.what == 'it is not clear whether id 0 is the class sky'
    assert 'as "0: sky" if it is, or as "1: sky" if id 0 is no class' in finding.remedy
    for first in (0, 1):
        (root / 'classes.txt').write_text(f'{first}: sky\ntree\nroad\ncar')
        assert not check_own_data(root).errors


@pytest.mark.parametrize('first', ['background', '_background_', 'Void', 'BG', 'unlabeled'])
@pytest.mark.parametrize('ade20k', [True, False])
def test_a_background_is_id_0_for_any_ids(maps, first, ade20k):
    for ids in ((0, 1), (1, 2), (0, 2)):
        root = maps(ids, ids, names=f'{first}\ntree\nroad', ade20k=ade20k)
        assert meaning(root) == ({0: first, 1: 'tree', 2: 'road'}, [])
    root = maps((0, 3), (0, 3), names=f'{first}\ntree\nroad', ade20k=ade20k)
    assert {f.what for f in check_own_data(root).errors} == {
        'label maps with ids that have no class'
    }


def test_the_summary_shows_the_id_of_each_name(maps, capsys):
    for names, shown in (('0: sky\ntree', '0 sky, 1 tree'), ('1: sky\n2: tree', '1 sky, 2 tree')):
        show_checked(check_own_data(maps((0, 1, 2), (1, 0), names=names)), Console(soft_wrap=True))
        assert f'label maps, 2 classes: {shown}\n' in capsys.readouterr().out


# --- binary maps, and one class


@pytest.mark.parametrize('names', ['cell', '1: cell', 'cell 200 10 10'])
@pytest.mark.parametrize('ids', [(0, 1), (0, 1, 255)])
def test_one_name_for_ids_0_and_1_makes_id_0_the_background(maps, names, ids):
    root = maps(ids, ids, names=names)
    assert meaning(root) == (
        {0: 'background', 1: 'cell'},
        ['id 0 is a class, called background'],
    )
    assert check_own_data(root).labels.palette in ((), ((0, 0, 0), (200, 10, 10)))


@pytest.mark.parametrize(
    'ids, names, what',
    [
        ((0, 255), 'cell', 'all ids are 0 and 255'),
        ((0, 255), 'background\ncell', 'all ids are 0 and 255'),
        ((0,), 'cell', 'all pixels with a class have the class background'),
        ((1, 255), 'background\ncell', 'all pixels with a class have the class cell'),
        ((1,), None, 'all pixels with a class have the class class 1'),
        ((0, 1), '0: cell', 'label maps with ids that have no class'),
        ((0,), '0: cell', 'all pixels with a class have the class cell'),
        ((0, 1), '1: sky\ntree', 'all pixels with a class have the class sky'),
        ((0, 2), 'cell', 'label maps with ids that have no class'),
        ((255,), 'background\ncell', 'no pixel has a class'),
        ((0,), '1: sky\ntree', 'no pixel has a class'),
    ],
)
def test_data_with_one_class_to_learn_is_an_error(maps, ids, names, what):
    finding = check_own_data(maps(ids, ids, names=names)).errors[0]
    assert finding.what == what


def test_binary_maps_in_the_folders_of_ade20k_without_names_have_two_classes(maps):
    names, _ = meaning(maps((0, 1), (0, 1), ade20k=True))
    assert names == {0: 'class 0', 1: 'class 1'}


def test_the_message_about_ids_without_names_counts_in_good_english(maps):
    (finding,) = check_own_data(maps((0, 1), (0, 7), names='background\ncell')).errors
    assert finding.remedy == 'there are names for the ids 0 to 1, and 255 is no class'


def test_validation_images_that_are_set_aside_have_labels(maps, tmp_path):
    root = maps(*[(255,)] * 8, (0, 1), (0, 1), names='sky\ntree')
    data = write_data(check_own_data(root), tmp_path / 'work')
    chosen = data.splits['val'].stems_file.read_text().split()
    assert len(chosen) == 3 and len({'8', '9'} & {*chosen}) == 1


def test_one_image_with_labels_is_too_few_to_split(maps):
    (finding,) = check_own_data(maps((255,), (255,), (0, 1), names='sky\ntree')).errors
    assert 'the number is 1' in finding.remedy


# --- the names file


@pytest.mark.parametrize(
    'content, message',
    [
        (b'sky\n\ntree', 'line 2 is empty, between two names'),
        (b'sky\nfa\xe7ade', 'line 2 has the byte 0xe7, which is not UTF-8'),
        ('sky\ntree'.encode('utf-16'), 'line 1 has the byte 0xff'),
        (b'sky\ntr\x00ee', r'or a character that is no text, which a config cannot hold: tr\x00ee'),
        (b'sky\n{{ tree }}', 'line 2 has "{{"'),
        (b'7: sky\n8: tree', 'line 1 has the id 7, and the first name must have 0 or 1'),
        (b'0: sky\n2: tree', 'line 2 has the id 2, and its place means 1'),
        (b'x\n' * 2**20, 'bytes; a list of at most 255 classes'),
    ],
)
def test_a_names_file_that_is_not_clear_is_refused_with_its_line(maps, content, message):
    root = maps((0, 1), (0, 1), names='')
    (root / 'classes.txt').write_bytes(content)
    with pytest.raises(UserError) as error:
        check_own_data(root)
    assert str(error.value).startswith(f'{root}/classes.txt: ') and message in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'content', [b'\xef\xbb\xbfsky\ntree', b'sky\r\ntree\r\n', b'\n# two\n\nsky\n# and\ntree\n\n']
)
def test_names_of_other_editors_are_read(maps, content):
    root = maps((0, 1), (0, 1), names='')
    (root / 'classes.txt').write_bytes(content)
    assert meaning(root) == ({0: 'sky', 1: 'tree'}, [])


@pytest.mark.parametrize(
    'text',
    [table('sky', 'tree', first=0), 'sky\ntree\n', ADE20K_HEADER + '1\t1\tsky\n3\t1\ttree\n'],
)
def test_a_table_in_another_form_than_in_ade20k_is_refused_with_its_line(maps, text):
    root = maps((0, 1), (0, 2), names=text, file='objectInfo150.txt')
    with pytest.raises(UserError, match=r'expected the id \d first and its name last'):
        check_own_data(root)


def test_more_names_than_ids_are_an_error(maps):
    names = '\n'.join(f'c{i}' for i in range(300))
    (finding,) = check_own_data(maps((0, 1), (0, 1), names=names)).errors
    assert finding.what == 'more class names than ids: 300'


# --- files


@pytest.mark.parametrize('orientation', [2, 3, 4, 6])
def test_images_that_exif_turns_while_their_size_stays_are_an_error(maps, orientation):
    turned = Image.Exif()
    turned[0x0112] = orientation
    root = maps((0, 1), (0, 1), names='sky\ntree')
    square = np.zeros((8, 8, 3), np.uint8)
    save(root / 'images' / '0.png', square, exif=turned)
    save(root / 'ann' / '0.png', square[..., 0])
    (finding,) = check_own_data(root).errors
    assert finding.what.startswith('images that their EXIF data turns or mirrors')
    assert finding.examples == (f'0 (orientation {orientation})',)
    # Another label map shows that they were drawn on turned images.
    turned[0x0112] = 8
    save(root / 'images' / '1.png', np.zeros((4, 9, 3), np.uint8), exif=turned)
    save(root / 'ann' / '1.png', np.resize(np.uint8([0, 1]), (9, 4)))
    assert not check_own_data(root).errors


def test_pipes_sockets_and_broken_links_are_named_and_do_not_block(maps):
    root = maps(*[(0, 1)] * 4, names='sky\ntree')
    for kind, name in (('images', '0'), ('ann', '1')):
        (root / kind / f'{name}.png').unlink()
        os.mkfifo(root / kind / f'{name}.png')
    (root / 'images' / '2.png').unlink()
    (root / 'images' / '2.png').symlink_to('2.png')
    os.mkfifo(root / 'all.json')
    here = os.getcwd()
    os.chdir(root / 'images')  # The path of a socket is short.
    with socket.socket(socket.AF_UNIX) as one:
        one.bind('a socket.png')
    os.chdir(here)
    errors = {error.what: error.examples for error in check_own_data(root).errors}
    assert errors['images that cannot be read completely'] == (
        '0.png: OSError: not a file',
        '2.png: OSError: a broken link',
        'a socket.png: OSError: not a file',
    )
    assert errors['files that are not label maps'] == ('1.png: OSError: not a file',)


@pytest.mark.parametrize('closed', ['images', 'ann', 'images/sub', '.', 'classes.txt', 'x.json'])
def test_files_without_read_permission_are_refused_in_one_line(closed):
    with tempfile.TemporaryDirectory() as folder:  # Others may not enter pytest's own folders.
        root = Path(folder)
        for kind in ('images', 'ann', 'images/sub'):
            for name in 'ab':
                save(root / kind / f'{name}.png', np.resize(np.uint8([0, 1]), SIZE[::-1]))
        (root / 'classes.txt').write_text('sky\ntree')
        (root / 'x.json').write_text('{}')
        root.chmod(0o755)
        (root / closed).chmod(0)
        user = os.geteuid()
        os.seteuid(user or 65534)  # Root may read everything.
        try:
            with pytest.raises(UserError) as error:
                check_own_data(root)
        finally:
            os.seteuid(user)
            (root / closed).chmod(0o755)
    text = str(error.value)
    assert text.startswith(str(root / closed)) and 'Permission denied' in text and '\n' not in text


def test_hidden_files_links_in_a_circle_and_upper_case_endings_are_no_obstacle(maps):
    root = maps((0, 1), (0, 1), names='sky\ntree')
    for kind in ('images', 'ann'):
        (root / kind / 'loop').symlink_to(root / kind)
        (root / kind / '._0.png').write_bytes(b'macOS')
        (root / kind / 'Thumbs.db').write_bytes(b'Windows')
        for name in '01':
            (root / kind / f'{name}.png').rename(root / kind / f'{name}.PNG')
    checked = check_own_data(root)
    assert checked.findings == []
    assert checked.splits['train'].stems == ['0', '1']
    assert checked.splits['train'].suffixes == ('.PNG', '.PNG')
    assert not checked.splits['train'].all_in_folder


def test_images_that_opencv_cannot_read_are_an_error(maps):
    root = maps((0, 1), (0, 1), names='sky\ntree', suffix='.tif')
    save(root / 'images' / '1.tif', np.zeros(SIZE[::-1], np.float32))
    (finding,) = check_own_data(root).errors
    assert finding.examples == (
        '1.tif: OpenCV cannot read this TIFF of mode F: write it again as PNG',
    )


def test_a_png_that_pillow_reads_and_opencv_does_not_is_an_error(maps):
    root = maps((0, 1), (0, 1), names='sky\ntree')
    content = (root / 'images' / '0.png').read_bytes()
    (root / 'images' / '0.png').write_bytes(content[:-2])
    (finding,) = check_own_data(root).errors
    assert finding.examples == (
        '0.png: OpenCV cannot read this PNG of mode RGB: write it again as PNG',
    )


def test_an_image_of_few_pixels_is_read(maps):
    root = maps((0, 1), (0, 1), names='sky\ntree', suffix='.jpg')
    save(root / 'images' / '0.jpg', np.zeros((3, 2, 3), np.uint8))
    save(root / 'ann' / '0.png', np.zeros((3, 2), np.uint8))
    assert not check_own_data(root).errors


def test_two_folders_of_one_split_are_refused(maps, tmp_path):
    root = maps((0, 1), (0, 1), names='sky\ntree', ade20k=True)
    (root / 'images' / 'train_old').mkdir()
    with pytest.raises(UserError, match='named after the train split: train_old, training'):
        check_own_data(root)


def test_folders_without_label_maps_are_noted(maps):
    root = maps((0, 1), (0, 1), names='background\ntree', ade20k=True)
    (root / 'images' / 'more').mkdir()
    assert check_own_data(root).notes == [f'not used: more in {root}/images']


def renamed(root, name):
    (root / name).mkdir(parents=True)
    for kind in ('images', 'ann'):
        (root / kind).rename(root / name / kind)
    return root / name


@pytest.mark.parametrize('name', ['{{ fileDirname }}', 'a\nb', 'a\udcff'])
def test_a_folder_that_a_config_cannot_name_is_refused_in_one_line(maps, name):
    root = renamed(maps((0, 1), (0, 1)), name)
    with pytest.raises(UserError, match='rename the folder') as error:
        check_own_data(root)
    str(error.value).encode()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['a[/b]', "it's", '{x}', 'a b'])
def test_a_folder_of_any_other_name_is_read(maps, name):
    root = renamed(maps((0, 1), (0, 1)), name)
    assert {finding.level for finding in check_own_data(root).findings} == {Level.NOTE}


def test_an_ending_that_a_config_cannot_hold_is_refused_in_one_line(maps):
    root = maps((0, 1), (0, 1), names='sky\ntree')
    for path in (root / 'ann').iterdir():
        path.rename(path.with_stem(path.stem + '{{ x }}'))
    with pytest.raises(UserError, match=r'end in {{ x }}.png, which a config cannot hold'):
        check_own_data(root)
