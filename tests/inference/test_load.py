"""convnext_mm.load: from a work dir to predictions as arrays and pictures."""

import ast
import inspect
import os
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import convnext_mm
from convnext_mm.errors import UserError
from convnext_mm.export import export
from tests.conftest import ROOT
from tests.small_models import segmentor, write_model

PAGE = ROOT / 'docs' / 'python.md'
SHAPES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')


@pytest.fixture(scope='module')
def work_dir(small_detector, tmp_path_factory):
    """A work dir as a training on own data leaves it."""
    folder = tmp_path_factory.mktemp('work_of_detector')
    config = write_model(folder, small_detector, SHAPES)
    config.with_name('model.pth').rename(folder / 'epoch_1.pth')
    config.rename(folder / 'own_data.py')
    return folder


@pytest.fixture(scope='module')
def detector(work_dir):
    return convnext_mm.load(work_dir, device='cpu')


@pytest.fixture(scope='module')
def segmentor_model(shapes_ade, tmp_path_factory):
    config = write_model(tmp_path_factory.mktemp('segmentor'), segmentor(shapes_ade))
    return convnext_mm.load(config, config.with_name('model.pth'), device='cpu')


@pytest.fixture(scope='module')
def photo(shapes_coco, tmp_path_factory):
    """A PNG of 64 x 48 pixels, which every reader decodes to the same values."""
    path = tmp_path_factory.mktemp('photo') / 'photo.png'
    image = cv2.imread(str(next((shapes_coco / 'val').glob('*.jpg'))))
    cv2.imwrite(str(path), image[:48])
    return path


def test_a_detector_gives_boxes_masks_labels_names_and_scores(detector, photo):
    found = detector(photo, score_thr=0.1)
    count = len(found)
    assert count > 3
    assert (found.boxes.shape, found.boxes.dtype) == ((count, 4), np.float32)
    assert (found.masks.shape, found.masks.dtype) == ((count, 48, 64), bool)
    assert (found.labels.dtype, found.scores.dtype) == (np.int64, np.float32)
    assert (found.scores >= 0.1).all() and (np.diff(found.scores) <= 0).all()
    assert found.names == [SHAPES[label] for label in found.labels]
    assert (found.boxes[:, 2:] <= (64, 48)).all()
    assert f'{count} objects (' in repr(found) and 'image 64 x 48' in repr(found)


def test_a_segmentor_gives_a_label_map_names_and_scores(segmentor_model, photo):
    found = segmentor_model(photo)
    assert (found.label_map.shape, found.scores.shape) == ((48, 64), (48, 64))
    assert found.classes[0] == 'background'
    areas = [(found.label_map == found.classes.index(name)).sum() for name in found.names]
    assert areas == sorted(areas, reverse=True) and sum(areas) == 48 * 64
    data = segmentor_model.prepare(segmentor_model.read(photo))
    with torch.no_grad():
        batch = {key: [value] for key, value in data.items()}
        (sample,) = segmentor_model.model.test_step(batch)
    expected = sample.seg_logits.data.softmax(0).amax(0)
    np.testing.assert_allclose(found.scores, expected.numpy(), atol=1e-5)
    assert 'image 64 x 48' in repr(found)


def test_all_kinds_of_images_give_the_same(detector, photo):
    rgb = np.array(Image.open(photo))
    kinds = [photo, str(photo), rgb, Image.open(photo), Image.open(photo).convert('RGBA')]
    expected, *others = (detector(image, score_thr=0.1) for image in kinds)
    assert np.array_equal(expected.image, rgb)
    for found in others:
        assert np.array_equal(found.image, rgb)
        assert np.array_equal(found.boxes, expected.boxes)
        assert np.array_equal(found.masks, expected.masks)
    swapped = detector(np.ascontiguousarray(rgb[..., ::-1]), score_thr=0.1)
    assert not np.array_equal(swapped.scores, expected.scores)


def test_grey_arrays_and_turned_photos_are_read_as_files_are(detector, photo, tmp_path):
    grey = Image.open(photo).convert('L')
    grey.save(tmp_path / 'grey.png')
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.open(photo).save(tmp_path / 'turned.png', exif=turned)
    assert np.array_equal(detector(np.array(grey)).image, detector(tmp_path / 'grey.png').image)
    file, opened = tmp_path / 'turned.png', Image.open(tmp_path / 'turned.png')
    assert detector(file).image.shape == (64, 48, 3)
    assert np.array_equal(detector(opened).image, detector(file).image)


def test_a_model_of_grey_images_gets_colour_arrays_as_grey(work_dir, photo):
    reads_grey = {'test_dataloader.dataset.pipeline.0.color_type': 'grayscale'}
    model = convnext_mm.load(work_dir, device='cpu', options=reads_grey)
    expected = model.read(photo).image
    assert expected.ndim == 2
    for image in (Image.open(photo), np.array(Image.open(photo)), expected):
        # The decoder of a PNG file rounds in another way.
        difference = model._frame(image, 0).image.astype(int) - expected
        assert difference.shape == expected.shape and abs(difference).max() <= 1


def test_a_list_gives_a_list_in_its_order(detector, photo):
    rgb = np.array(Image.open(photo))
    images = [rgb, rgb[:40], photo, rgb[:, ::-1]]
    found = detector(images, score_thr=0.1, batch_size=2)
    assert [each.image.shape for each in found] == [(48, 64, 3), (40, 64, 3)] + [(48, 64, 3)] * 2
    for image, each in zip(images, found, strict=True):
        alone = detector(image, score_thr=0.1)
        np.testing.assert_allclose(each.scores, alone.scores, atol=1e-4)
    assert not np.allclose(found[0].scores, found[3].scores, atol=1e-3)
    assert detector([]) == []


def test_a_picture_is_an_array_a_file_and_a_jpeg_for_a_notebook(
    detector, segmentor_model, photo, tmp_path
):
    for model in (detector, segmentor_model):
        found = model(photo, score_thr=0.1)
        drawn = found.draw()
        assert (drawn.shape, drawn.dtype) == ((48, 64, 3), np.uint8)
        assert not np.array_equal(drawn, found.image)
        saved = found.save(tmp_path / 'found.png')
        assert np.array_equal(np.array(Image.open(saved)), drawn)
        shown = cv2.imdecode(np.frombuffer(found._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)
        assert abs(shown[..., ::-1].astype(int) - drawn).mean() < 20


@pytest.mark.parametrize(
    'image, message',
    [
        ('none.jpg', 'none.jpg: No such file'),
        ('clip.mp4', 'clip.mp4 is a video: give image files, or .* convnext_mm.predict'),
        (__file__, 'OpenCV cannot decode it as an image'),
        (os.path.dirname(__file__), 'is a folder: give image files'),
        (np.zeros((4, 4, 3)), r'image 0: an array .*; this one is \(4, 4, 3\) float64'),
        (np.zeros(4, np.uint8), r'this one is \(4,\) uint8'),
        (np.zeros((3, 4, 4), np.uint8), r'this one is \(3, 4, 4\) uint8'),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(detector, image, message):
    with pytest.raises(UserError, match=message):
        detector(image)


def test_settings_out_of_range_are_refused(detector, photo):
    with pytest.raises(UserError, match=r'score_thr=30: it must be from 0 to 1'):
        detector(photo, score_thr=30)
    with pytest.raises(UserError, match='batch_size=0: it must be at least 1'):
        detector([photo], batch_size=0)


def test_a_moved_work_dir_gives_its_best_checkpoint_or_else_its_newest(
    work_dir, tmp_path, monkeypatch
):
    moved = tmp_path / 'moved'
    shutil.copytree(work_dir, moved)
    with (moved / 'own_data.py').open('a') as config:
        config.write(f'work_dir = {str(tmp_path / "gone")!r}\n')
    said = []
    monkeypatch.setattr('convnext_mm.inference.predictor.log_once', said.append)
    convnext_mm.load(moved, device='cpu')
    shutil.copy(moved / 'epoch_1.pth', moved / 'best_coco_segm_mAP_epoch_1.pth')
    (moved / 'epoch_1.pth').write_bytes(b'')
    convnext_mm.load(moved, device='cpu')
    config = f', with the config {moved}/own_data.py'
    assert said == [
        f'loading {moved}/epoch_1.pth{config}',
        f'loading {moved}/best_coco_segm_mAP_epoch_1.pth{config}',
    ]


def test_the_copy_that_a_test_with_augmentation_left_is_not_the_config_of_the_model(
    work_dir, tmp_path
):
    shutil.copy(work_dir / 'epoch_1.pth', tmp_path)
    run = tmp_path / '20260101_000000' / 'vis_data'
    run.mkdir(parents=True)
    shutil.copy(work_dir / 'own_data.py', run / 'config.py')
    (tmp_path / 'recipe.py').write_text("model = dict(type='TTA', module=dict())\n")
    assert convnext_mm.load(tmp_path, device='cpu').meta['classes'] == SHAPES


def test_a_folder_without_a_model_is_refused(work_dir, tmp_path):
    with pytest.raises(UserError, match='holds no config: give a config and a checkpoint'):
        convnext_mm.load(tmp_path)
    shutil.copy(work_dir / 'own_data.py', tmp_path)
    with pytest.raises(UserError, match=r'holds no checkpoint \(best_\*.pth'):
        convnext_mm.load(tmp_path)
    with pytest.raises(UserError, match=r'none\.pth: no such file'):
        convnext_mm.load(tmp_path, tmp_path / 'none.pth')


def test_the_examples_of_the_documentation_run(
    work_dir, segmentor_model, photo, tmp_path, monkeypatch
):
    blocks = re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.DOTALL | re.MULTILINE)
    shutil.copytree(work_dir, tmp_path / 'work_dirs' / 'own')
    (tmp_path / 'more').mkdir()
    for name in ('photo.jpg', 'more/1.png'):
        Image.open(photo).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names = dict(image=np.array(Image.open(photo)), segmentor=segmentor_model)
    examples = [text for text in blocks if 'found' in text or 'predictor' in text][:4]
    assert [text.count('load(') for text in examples] == [2, 1, 0, 0]
    for text in examples:  # the published segmentor would be downloaded
        exec(re.sub(r"convnext_mm\.load\('upernet.*", 'segmentor', text), names)
    assert (tmp_path / 'drawn.png').is_file() and len(names['results']) == 3


def test_the_arguments_in_the_documentation_exist():
    calls = [
        node
        for text in re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), re.DOTALL | re.MULTILINE)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
    ]
    functions = {'train': convnext_mm.train, 'test': convnext_mm.test, 'export': export}
    found = 0
    for call in calls:
        name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
        if name in functions:
            keywords = {keyword.arg: None for keyword in call.keywords}
            inspect.signature(functions[name]).bind(*call.args, **keywords)
            found += 1
    assert found == 3
