"""Label maps in a folder or a zip file: written and read without loss, and checked."""

import io
import pickle
import re
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from convnext_mm.config.reading import load_config
from convnext_mm.errors import UserError
from convnext_mm.evaluation.report.evaluated_data import read_label_maps
from convnext_mm.evaluation.report.page import write_report
from convnext_mm.evaluation.results import label_maps
from convnext_mm.evaluation.results.label_maps import names_of, pair_of
from convnext_mm.evaluation.results.metrics import DumpLabelMaps, WriteLabelMaps
from tests.small_models import segmentor

CLASSES = ('background', 'circle', 'square', 'triangle', 'star', 'cross', 'ring')


@pytest.fixture(scope='module')
def cfg(shapes_ade, tmp_path_factory):
    path = tmp_path_factory.mktemp('segmentor') / 'ade.py'
    path.write_text(segmentor(shapes_ade) + "test_evaluator = dict(type='IoUMetric')\n")
    return load_config(path)


@pytest.fixture(scope='module')
def samples(shapes_ade):
    """The label maps of the validation images, shifted by some pixels, as data samples."""
    found = []
    for path in sorted((shapes_ade / 'annotations' / 'validation').glob('*.png')):
        truth = torch.from_numpy(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.int64))[None]
        image = shapes_ade / 'images' / 'validation' / f'{path.stem}.jpg'
        maps = dict(gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=truth.roll(3, 2)))
        found.append(dict(img_path=str(image), **maps))
    return found


def write(metric, samples):
    metric.process({}, samples)
    metric.evaluate(len(samples))


@pytest.fixture
def folder(samples, tmp_path):
    write(WriteLabelMaps(str(tmp_path / 'maps')), samples)
    return tmp_path / 'maps'


def test_the_report_is_the_same_from_a_folder_a_zip_file_and_a_pickle(
    cfg, samples, folder, tmp_path
):
    write(WriteLabelMaps(str(tmp_path / 'maps.zip')), samples)
    write(DumpLabelMaps(str(tmp_path / 'maps.pkl')), samples)
    pages = []
    for name in ('maps', 'maps.zip', 'maps.pkl'):
        page = write_report(cfg, tmp_path / name, work_dir=tmp_path).read_text()
        pages.append(re.sub(r'\d+ \w+ \d{4}, \d\d:\d\d', '', page))
    assert pages[0] == pages[1] == pages[2]
    assert 'mIoU' in pages[0] and 'images-data' in pages[0]


def test_labels_come_back_as_they_were(cfg, samples, folder):
    records = read_label_maps(cfg, folder, CLASSES, 'test')
    assert [record['img_path'] for record in records] == [s['img_path'] for s in samples]
    for record, sample in zip(records, samples):
        truth, predicted = pair_of(record)
        assert np.array_equal(truth, sample['gt_sem_seg']['data'][0])
        assert np.array_equal(predicted, sample['pred_sem_seg']['data'][0])


def test_label_maps_are_named_after_their_images():
    assert names_of(['/data/a.jpg', '/data/b.c.jpg']) == ['a', 'b.c']
    assert names_of(['/data/x/a.jpg', '/data/y/b.jpg']) == ['a', 'b']
    assert names_of(['/data/x/a.jpg', '/data/y/a.jpg']) == ['x/a', 'y/a']
    assert names_of(['/data/a.jpg', '/data/a.png']) == ['a.jpg', 'a.png']
    assert names_of(['/data/a.jpg', '/data/a.jpg']) == ['a', 'a']  # a data set that repeats it


def test_images_with_one_name_in_several_folders_have_label_maps_in_folders(tmp_path):
    images = ['/data/x/a.jpg', '/data/y/a.jpg']
    maps = [np.full((2, 3), i, np.uint8) for i in (1, 2)]
    for path in (tmp_path / 'maps', tmp_path / 'maps.zip'):
        label_maps.write(path, images, map(label_maps.as_png, maps))
        records = label_maps.read(path, images, lambda i: maps[i], CLASSES)
        assert [pair_of(record)[1].tolist() for record in records] == [m.tolist() for m in maps]


def png(labels, mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(labels)
    (image.convert(mode) if mode else image).save(file, 'png', **options)
    return file.getvalue()


WHOLE = np.ones((64, 64), np.uint8)


def huge_png():
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    return png(WHOLE)[:16] + (60_000).to_bytes(4, 'big') * 2 + png(WHOLE)[24:]


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'no label map for 1 image (NAME); it has 5 label maps'),
        (b'', 'NAME.png is no PNG, or is damaged'),
        (png(WHOLE)[:60], 'NAME.png is no PNG, or is damaged'),
        (png(WHOLE)[:41] + b'xx' + png(WHOLE)[43:], 'NAME.png is no PNG, or is damaged'),
        (png(WHOLE).replace(b'PNG', b'GIF'), 'NAME.png is no PNG, or is damaged'),
        (huge_png(), 'NAME.png is'),
        (bytes(10**6), 'NAME.png has 1,000,000 bytes, too many for 64x64 px'),
        (png(WHOLE[:, :9]), 'NAME.png is 9x64, expected 64x64 as in the ground truth'),
        (png(np.dstack([WHOLE] * 3)), 'NAME.png has 3 channels, expected one with class indices'),
        (png(7 * WHOLE), 'NAME.png has label 7, expected class indices from 0 to 6'),
        (png(WHOLE * np.uint16(65_535)), 'NAME.png has label 65535, expected class indices from'),
    ],
)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_a_file_that_is_no_label_map_of_its_image_is_named(cfg, folder, content, message):
    path = sorted(folder.iterdir())[2]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message.replace('NAME', path.stem))) as refused:
        read_label_maps(cfg, folder, CLASSES, 'test')
    assert str(refused.value).startswith(str(folder)) and '\n' not in str(refused.value)


def test_palette_images_have_the_labels_of_their_palette(cfg, folder):
    path = sorted(folder.iterdir())[0]
    image = Image.fromarray(3 * WHOLE).convert('L')
    image.putpalette([0] * 768)
    image.save(path)
    assert (
        pair_of(read_label_maps(cfg, folder, CLASSES, 'test')[0])[1].tolist()
        == (3 * WHOLE).tolist()
    )


def test_grey_images_of_four_bits_are_refused(cfg, folder):
    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = struct.pack('>IIBBBBB', 64, 64, 4, 0, 0, 0, 0)
    rows = zlib.compress((b'\0' + b'\x11' * 32) * 64)
    data = (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    )
    sorted(folder.iterdir())[0].write_bytes(data)
    with pytest.raises(UserError, match='has 4 bits per pixel, expected 8 or 16'):
        read_label_maps(cfg, folder, CLASSES, 'test')


def test_label_maps_without_an_image_are_named(cfg, folder):
    (folder / 'other.png').write_bytes(png(WHOLE))
    with pytest.raises(UserError, match=r'1 label map \(other.png\) without an image'):
        read_label_maps(cfg, folder, CLASSES, 'test')


def test_two_label_maps_of_one_image_are_refused(cfg, folder):
    first = sorted(folder.iterdir())[0]
    (folder / 'more').mkdir()
    (folder / 'more' / first.name).write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=f'two label maps for {first.stem}'):
        read_label_maps(cfg, folder, CLASSES, 'test')


def zipped(folder, path, **more):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        for name, data in more.items():
            archive.writestr(name, data)
    return path


def test_a_zip_file_of_another_program_is_read(cfg, folder, tmp_path):
    more = {'__MACOSX/._a.png': b'?', 'readme.txt': b'?', 'folder/': b''}
    path = zipped(folder, tmp_path / 'other.zip', **more)
    assert len(read_label_maps(cfg, path, CLASSES, 'test')) == 6


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda data: data[: len(data) // 2], 'cannot be read: File is not a zip file'),
        (lambda data: b'', 'cannot be read: File is not a zip file'),
        (lambda data: data[:80] + b'xxxx' + data[84:], 'is no PNG, or is damaged'),
    ],
)
def test_a_damaged_zip_file_is_one_clear_line(cfg, folder, tmp_path, damage, message):
    path = zipped(folder, tmp_path / 'damaged.zip')
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_label_maps(cfg, path, CLASSES, 'test')


def test_results_of_another_kind_of_model_are_refused(cfg, small_detector, folder, tmp_path):
    (tmp_path / 'found.json').write_text('[]')
    with pytest.raises(UserError, match='the results of a segmentor are a folder or'):
        write_report(cfg, tmp_path / 'found.json')
    (tmp_path / 'detector.py').write_text(small_detector)
    with pytest.raises(UserError, match=r'for a detector: its results are a .json or'):
        write_report(tmp_path / 'detector.py', folder)


@pytest.mark.parametrize(
    'record',
    [
        dict(),
        dict(gt_sem_seg=1, pred_sem_seg=2),
        *(
            dict(gt_sem_seg=dict(data=WHOLE[None]), pred_sem_seg=dict(data=data))
            for data in (None, b'', b'no PNG', WHOLE, WHOLE[None, :9], 1.0 * WHOLE[None], 7, 'text')
        ),
        dict(gt_sem_seg=dict(data=9 * WHOLE[None]), pred_sem_seg=dict(data=WHOLE[None])),
        dict(gt_sem_seg=dict(data=WHOLE[None]), pred_sem_seg=dict(data=-WHOLE[None].astype(int))),
    ],
)
def test_a_pickle_with_other_content_is_one_clear_line(cfg, record, tmp_path):
    (tmp_path / 'maps.pkl').write_bytes(pickle.dumps([record]))
    with pytest.raises(UserError, match='the predictions'):
        write_report(cfg, tmp_path / 'maps.pkl', work_dir=tmp_path)
