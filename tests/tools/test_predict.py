"""tools/predict.py as a user calls it."""

import json
import runpy
import shutil
import sys

import cv2
import pytest
import torch

from tests.conftest import ROOT, run_tool
from tests.small_models import segmentor, write_model

SHAPES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')


@pytest.fixture(scope='module')
def detector(small_detector, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('detector'), small_detector, SHAPES)


@pytest.fixture(scope='module')
def mixed(shapes_coco, tmp_path_factory):
    """A folder with images, a video and files that are neither."""
    folder = tmp_path_factory.mktemp('mixed')
    files = sorted((shapes_coco / 'val').glob('*.jpg'))
    for index, file in enumerate(files[:2]):
        shutil.copy(file, folder / f'{index}.jpg')
    video = cv2.VideoWriter(str(folder / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 64))
    for file in files[:3]:
        video.write(cv2.imread(str(file)))
    video.release()
    (folder / 'not an image.png').write_text('text')
    (folder / 'empty.jpg').touch()
    (folder / 'not a video.mp4').write_text('text')
    (folder / 'notes.txt').write_text('ignored')
    return folder


@pytest.fixture
def run_here(monkeypatch, capsys, tmp_path):
    """Run the tool in this process, which is quicker."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as finished:
            runpy.run_path(str(ROOT / 'tools' / 'predict.py'), run_name='__main__')
        return finished.value.code, *capsys.readouterr()

    return run


def test_a_detector_predicts_on_a_folder_and_skips_unreadable_files(detector, mixed, tmp_path):
    done = run_tool(
        'predict.py',
        *(detector, detector.with_name('model.pth'), mixed),
        *('--out', tmp_path, '--score-thr', '0.2', '--batch-size', '2'),
    )
    assert done.code == 1, done.output
    for line in (
        'not read: {}/empty.jpg: the file is empty',
        'not read: {}/not a video.mp4: OpenCV cannot decode it as a video',
        'not read: {}/not an image.png: OpenCV cannot decode it as an image',
    ):
        assert line.format(mixed) in done.output
    assert 'Traceback' not in done.output and 'Warning' not in done.output
    results = json.loads((tmp_path / 'results.json').read_text())
    assert f'5 images, {len(results["annotations"])} objects with a score from 0.2, ' in done.output
    seen = [(i['file_name'].rpartition('/')[2], i.get('frame')) for i in results['images']]
    clip = [('clip.avi', 0), ('clip.avi', 1), ('clip.avi', 2)]
    assert seen == [('0.jpg', None), ('1.jpg', None), *clip]
    assert sorted(p.name for p in (tmp_path / 'pictures').iterdir()) == [
        '0.jpg',
        '1.jpg',
        'clip.mp4',
    ]
    video = cv2.VideoCapture(str(tmp_path / 'pictures' / 'clip.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == 5
    assert [video.read()[0] for _ in range(4)] == [True, True, True, False]


def test_a_segmentor_writes_label_maps_and_the_names_and_colours_of_classes(
    run_here, shapes_ade, mixed, tmp_path
):
    config = write_model(tmp_path, segmentor(shapes_ade))
    code, output, errors = run_here(
        config, config.with_name('model.pth'), mixed / '*.jpg', mixed / 'clip.avi'
    )
    assert code == 1 and 'empty.jpg' in errors and '5 images' in output
    folder = tmp_path / 'work_dirs' / 'config' / 'predictions'  # the default
    results = json.loads((folder / 'results.json').read_text())
    assert results['categories'][1] == dict(id=1, name='circle', color=[30, 0, 225])
    for image in results['images']:
        labels = cv2.imread(str(folder / image['label_map']), cv2.IMREAD_UNCHANGED)
        assert labels.shape == (64, 64) and labels.max() < 7
        assert (folder / image['picture']).exists()


def test_published_weights_are_given_by_name_and_drawing_can_be_switched_off(
    run_here, detector, mixed, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    cached = tmp_path / 'hub/checkpoints/cascade_mask_rcnn_convnext_tiny_1k_3x.pth'
    cached.parent.mkdir(parents=True)
    shutil.copy(detector.with_name('model.pth'), cached)
    code, output, _ = run_here(
        *(detector, 'cascade_mask_rcnn_convnext_tiny_coco', mixed / '0.jpg'),
        *('--no-pictures', '--out', 'here'),
    )
    assert code == 0 and '1 image, ' in output
    assert [path.name for path in (tmp_path / 'here').iterdir()] == ['results.json']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nowhere.jpg'], 'error: nowhere.jpg: no such file or folder\n'),
        (['0.jpg', '--batch-size', '0'], 'error: batch size 0: it must be at least 1'),
        (['0.jpg', '--score-thr', '50'], 'error: score threshold 50.0: it must be from 0 to 1'),
        (['0.jpg', '--device', 'cuda'], 'error: device cuda: PyTorch sees no GPU'),
        (['0.jpg', '--out', '0.jpg'], 'error: 0.jpg: '),
        (['0.jpg', '--device', 'gpu'], "invalid choice: 'gpu'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_line(
    run_here, detector, mixed, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    shutil.copy(mixed / '0.jpg', tmp_path)
    code, _, errors = run_here(detector, detector.with_name('model.pth'), *arguments)
    assert code == 2 and message in errors and 'Traceback' not in errors
    assert not (tmp_path / 'work_dirs').exists()


def test_a_missing_or_unrelated_checkpoint_is_one_clear_line(run_here, detector, mixed, tmp_path):
    code, _, errors = run_here(detector, 'no.pth', mixed)
    assert (code, errors) == (2, 'error: no.pth: no such file\n')
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'other.pth')
    code, _, errors = run_here(detector, tmp_path / 'other.pth', mixed)
    assert code == 2 and 'no tensor has a name like backbone.*' in errors
