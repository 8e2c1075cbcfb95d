"""Predictions on files equal those of the libraries, for any batch size and kind of file."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from convnext_mm.config import classes
from convnext_mm.errors import UserError
from convnext_mm.inference import Frame, Predictor, predict
from convnext_mm.inference.result_files import CocoWriter, LabelMapWriter
from convnext_mm.inference.sources import find_files
from tests.small_models import segmentor, write_model

SHAPES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')


@pytest.fixture(scope='module')
def detector(small_detector, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('detector'), small_detector, SHAPES)


@pytest.fixture(scope='module')
def segmentor_config(shapes_ade, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('segmentor'), segmentor(shapes_ade))


@pytest.fixture(scope='module')
def images(shapes_coco, tmp_path_factory):
    """Two of one size, two of another, one of the first again."""
    folder = tmp_path_factory.mktemp('images')
    files = sorted((shapes_coco / 'val').glob('*.jpg'))[:5]
    for index, file in enumerate(files):
        image = cv2.imread(str(file))
        cv2.imwrite(str(folder / f'{index}.png'), image[:40] if index in (2, 3) else image)
    return sorted(folder.iterdir())


def load(config, checkpoint=None, **options):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    return Predictor(cfg, checkpoint or config.with_name('model.pth'))


def samples_of(predictor, paths, batch_size=1):
    frames = map(predictor.read, paths)
    return [sample for _, sample in predictor.predict(frames, batch_size)]


def test_a_detector_predicts_the_same_as_in_mmdetection(detector, images):
    found = samples_of(load(detector), images)
    theirs = init_detector(str(detector), str(detector.with_name('model.pth')), device='cpu')
    for path, sample in zip(images, found, strict=True):
        expected = inference_detector(theirs, str(path)).pred_instances
        assert len(expected) > 5
        assert torch.equal(sample.pred_instances.labels, expected.labels)
        assert torch.equal(sample.pred_instances.masks, expected.masks)
        torch.testing.assert_close(sample.pred_instances.bboxes, expected.bboxes)


def test_a_segmentor_predicts_the_same_as_in_mmsegmentation(segmentor_config, images):
    found = samples_of(load(segmentor_config), images)
    checkpoint = torch.load(segmentor_config.with_name('model.pth'), weights_only=True)
    theirs = init_model(str(segmentor_config), device='cpu')
    theirs.load_state_dict(checkpoint['state_dict'])
    for path, sample in zip(images, found, strict=True):
        expected = inference_model(theirs, str(path)).pred_sem_seg.data
        assert torch.equal(sample.pred_sem_seg.data, expected)
        assert 'seg_logits' not in sample  # large, and copied from the GPU for nothing


def test_the_batch_size_changes_neither_predictions_nor_their_order(
    detector, segmentor_config, images
):
    for config in (detector, segmentor_config):
        predictor = load(config)
        alone, together = samples_of(predictor, images), samples_of(predictor, images, 4)
        assert [s.img_path for s in together] == [str(path) for path in images]
        for one, other in zip(alone, together, strict=True):
            if config is segmentor_config:
                same = one.pred_sem_seg.data == other.pred_sem_seg.data
                assert same.float().mean() > 0.999
            else:
                a, b = one.pred_instances, other.pred_instances
                torch.testing.assert_close(a.scores, b.scores, atol=1e-4, rtol=0)


def test_all_kinds_of_image_files_are_read_as_in_training(detector, tmp_path):
    colour = np.zeros((32, 48, 3), np.uint8)
    colour[:, :24] = (200, 100, 50)  # BGR
    rgb = Image.fromarray(colour[..., ::-1])
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by 90 degrees
    rgb.save(tmp_path / 'turned.png', exif=turned)
    rgb.convert('RGBA').save(tmp_path / 'clear.png')
    rgb.convert('L').save(tmp_path / 'grey.png')
    rgb.save(tmp_path / 'Größe 東京.png')
    deep = np.full((32, 48), 0x80FF, np.uint16)
    cv2.imwrite(str(tmp_path / 'deep.png'), deep)
    predictor = load(detector)
    images = {p.stem: predictor.read(p).image for p in tmp_path.iterdir()}
    assert {image.dtype for image in images.values()} == {np.dtype(np.uint8)}
    assert images.pop('turned').shape == (48, 32, 3)
    assert {image.shape for image in images.values()} == {(32, 48, 3)}
    assert np.array_equal(images['Größe 東京'], colour)
    assert np.array_equal(images['clear'], colour)
    assert (images['grey'] == images['grey'][..., :1]).all()
    assert np.unique(images['deep']).tolist() == [0x80]


def test_the_heads_are_built_for_the_classes_that_the_checkpoint_names(
    small_detector, tmp_path, images
):
    three = ('axe', 'bow', 'cap')
    # A model of three classes, and the config it came from, of six.
    other = small_detector + (
        'model = dict(roi_head=dict(bbox_head=[dict(head, num_classes=3) for head in '
        '_base_.model.roi_head.bbox_head], mask_head=dict(num_classes=3)))\n'
    )
    write_model(tmp_path, other, three)
    (tmp_path / 'config.py').write_text(small_detector)
    predictor = load(tmp_path / 'config.py')
    assert predictor.meta['classes'] == three
    labels = samples_of(predictor, images[:1])[0].pred_instances.labels
    assert len(labels) and int(labels.max()) < 3


def test_class_names_come_from_the_checkpoint_if_the_config_has_as_many(
    detector, small_detector, tmp_path
):
    names = tuple('abcdef')
    config = write_model(tmp_path, small_detector, names)
    assert load(config).meta['classes'] == names
    assert load(detector).meta['palette'][0] == (230, 80, 70)  # the config's, for its own names


def test_class_names_come_from_the_config_if_the_checkpoint_has_none(segmentor_config, tmp_path):
    assert load(segmentor_config).meta['classes'][0] == 'background'
    with pytest.raises(UserError, match=r'test set of the config names 2, but the heads have .*=7'):
        load(
            segmentor_config,
            **{'test_dataloader.dataset.metainfo': dict(classes=('a', 'b'), palette=[[0] * 3] * 2)},
        )


@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda state: state.pop('neck.fpn_convs.0.conv.weight'), 'lacks 1 tensor'),
        (
            lambda state: state.update({'neck.lateral_convs.0.conv.weight': torch.zeros(1)}),
            'does not fit: 1 tensor .* of another shape',
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_predicts_nothing(detector, tmp_path, spoil, message):
    checkpoint = torch.load(detector.with_name('model.pth'), weights_only=True)
    spoil(checkpoint['state_dict'])
    torch.save(checkpoint, tmp_path / 'model.pth')
    with pytest.raises(UserError, match=message):
        load(detector, tmp_path / 'model.pth')


def test_folders_and_globs_are_in_natural_order_without_duplicates(tmp_path):
    for name in ('10.jpg', '2.JPG', 'notes.txt', 'a/1.png', 'clip.mp4'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_files([str(tmp_path / '10.jpg'), str(tmp_path), str(tmp_path / '**' / '*.png')])
    assert [str(p.relative_to(tmp_path)) for p in found] == [
        '10.jpg',
        '2.JPG',
        'clip.mp4',
        'a/1.png',
    ]
    (tmp_path / 'empty').mkdir()
    for source, message in (
        ('empty', 'no images or videos'),
        ('no*.jpg', 'no such'),
        ('b', 'no such'),
    ):
        with pytest.raises(UserError, match=message):
            find_files([str(tmp_path / source)])


def test_results_are_a_coco_file_that_pycocotools_reads(detector, images, tmp_path):
    predictor = load(detector)
    frames = list(map(predictor.read, images))
    with CocoWriter(tmp_path, predictor.meta, pictures=False, score_thr=0.2) as results:
        samples = []
        for frame, sample in predictor.predict(frames):
            results.add(frame, sample)
            samples.append(sample.pred_instances)
    coco = COCO(str(tmp_path / 'results.json'))
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(SHAPES)
    assert [image['file_name'] for image in coco.dataset['images']] == list(map(str, images))
    kept = [s[s.scores >= 0.2] for s in samples]
    assert [len(coco.getAnnIds(i + 1)) for i in range(5)] == [len(s) for s in kept]
    assert min(coco.anns) == 1 and 0 < len(coco.anns) < sum(map(len, samples))
    first, expected = coco.anns[1], kept[0][0]
    assert np.array_equal(rle.decode(first['segmentation']), expected.masks[0].numpy())
    x1, y1, x2, y2 = expected.bboxes[0].tolist()
    assert first['bbox'] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.011)
    assert not (tmp_path / 'pictures').exists()


def test_the_coco_classes_keep_their_category_ids(tmp_path):
    names = ('person', *map(str, range(78)), 'toothbrush')
    ids = CocoWriter(tmp_path, dict(classes=names)).category_ids
    assert (len(ids), ids[0], ids[11], ids[-1]) == (80, 1, 13, 90)  # COCO has no id 12
    assert CocoWriter(tmp_path, dict(classes=('a', 'b'))).category_ids == [1, 2]


def test_results_of_files_with_the_same_stem_do_not_overwrite_each_other(
    segmentor_config, images, tmp_path
):
    predictor = load(segmentor_config)
    image = predictor.read(images[0]).image
    frames = [Frame(tmp_path / name, image) for name in ('a/x.png', 'b/x.png', 'X.jpg')]
    with LabelMapWriter(tmp_path, predictor.meta) as results:
        for frame, sample in predictor.predict(frames):
            results.add(frame, sample)
    for folder, suffix in (('pictures', 'jpg'), ('label_maps', 'png')):
        names = sorted(path.name for path in (tmp_path / folder).iterdir())
        assert names == [f'X_3.{suffix}', f'x.{suffix}', f'x_2.{suffix}']
    labels = cv2.imread(str(tmp_path / 'label_maps/x.png'), cv2.IMREAD_UNCHANGED)
    assert labels.shape == image.shape[:2] and labels.max() < 7


def test_without_a_video_encoder_frames_are_written_as_images(
    segmentor_config, images, tmp_path, monkeypatch
):
    predictor = load(segmentor_config)
    image = predictor.read(images[0]).image
    monkeypatch.setattr(cv2, 'VideoWriter_fourcc', lambda *letters: 0)
    frames = [Frame(tmp_path / 'clip.mp4', image, index) for index in range(2)]
    monkeypatch.setattr(cv2.VideoWriter, 'isOpened', lambda self: False)
    with LabelMapWriter(tmp_path, predictor.meta) as results:
        for frame, sample in predictor.predict(frames):
            results.add(frame, sample)
    assert [image['picture'] for image in results.images] == [
        'pictures/clip/000000.jpg',
        'pictures/clip/000001.jpg',
    ]
    assert (tmp_path / 'label_maps/clip/000001.png').exists()


def test_predict_returns_what_it_wrote_and_what_it_could_not_read(detector, images, tmp_path):
    broken = tmp_path / 'broken.png'
    broken.touch()
    summary = predict(
        detector,
        detector.with_name('model.pth'),
        [images[0], broken],
        out=tmp_path / 'out',
        score_thr=0.2,
    )
    assert summary.unread == {broken: 'the file is empty'}
    assert (summary.folder, summary.images) == (tmp_path / 'out', 1)
    coco = COCO(str(summary.folder / 'results.json'))
    assert summary.objects == len(coco.anns) > 0
    assert min(annotation['score'] for annotation in coco.anns.values()) >= 0.2


def test_predict_accepts_a_single_path_and_config_settings(segmentor_config, images, tmp_path):
    meta = dict(classes=tuple('abcdefg'), palette=[[0] * 3] * 7)
    summary = predict(
        segmentor_config,
        segmentor_config.with_name('model.pth'),
        images[0],
        out=tmp_path,
        pictures=False,
        options={'test_dataloader.dataset.metainfo': meta},
    )
    assert (summary.images, summary.objects, summary.unread) == (1, None, {})
    results = json.loads((tmp_path / 'results.json').read_text())
    assert [category['name'] for category in results['categories']] == list('abcdefg')


def test_a_segmentor_predicts_without_mmdetection(segmentor_config, images, tmp_path):
    arguments = (segmentor_config, segmentor_config.with_name('model.pth'), images[0])
    script = f"""
import sys
sys.modules['mmdet'] = sys.modules['pycocotools'] = None  # an import raises ModuleNotFoundError
from convnext_mm.inference import predict
predict(*{[str(argument) for argument in arguments]}, out={str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'label_maps' / '0.png').exists()


def test_class_names_of_old_and_new_checkpoints_are_read():
    new = dict(meta=dict(dataset_meta=dict(CLASSES=('a', 'b'), palette=[(0, 0, 0)] * 2)))
    assert classes.checkpoint_metainfo(new)['classes'] == ('a', 'b')
    assert classes.checkpoint_metainfo(dict(meta=dict(CLASSES=['a'], PALETTE=None))) == {
        'classes': ['a']
    }
    assert classes.checkpoint_metainfo(dict(meta=dict(dataset_meta=dict(classes='cat')))) == {
        'classes': ('cat',)
    }
    assert classes.checkpoint_metainfo(dict(state_dict={})) == {}
