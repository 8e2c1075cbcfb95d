"""The fast pipeline against the transforms of MMDetection and MMSegmentation, with equal seeds."""

import copy
import io
import json
import pickle
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from PIL import Image
from pycocotools import mask as coco_mask

from convnext_mm.config.nodes import leaf_datasets
from convnext_mm.datasets.loader.axis import Axis
from convnext_mm.datasets.loader.lazy import Jpeg, LazyImage
from convnext_mm.datasets.loader.masks import SourceMask, SourceMasks
from tests.conftest import ROOT

SHARED = ROOT.parent / 'shared' / 'data'
RECIPES = (
    *('cascade/convnext_t_coco', 'mask_rcnn/convnext_v2_t_coco'),
    *('cascade/convnext_t_finetune', 'cascade/convnext_v2_atto_photos'),
)
EXIF_ORIENTATION = 0x0112


def picture(height, width, channels=3):
    """Shades and a few edges: an image that resizes show in, and that is no noise."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / (9 + 4 * i)) * np.cos(y / (13 - 3 * i)) for i in range(3)]
    image = np.stack(waves, 2).astype(np.uint8)
    image[height // 3 : height // 2, width // 4 : width // 2] = (20, 200, 90)
    return image if channels == 3 else image[..., 0]


def annotations(height, width):
    """Two polygons in one object, RLEs of both kinds, a crowd, and an invalid polygon."""
    blob = np.zeros((height, width), np.uint8)
    cv2.ellipse(blob, (width // 2, height // 2), (width // 3, height // 5), 30, 0, 360, 1, -1)
    counts = coco_mask.encode(np.asfortranarray(blob))
    compressed = dict(size=counts['size'], counts=counts['counts'].decode())
    stripe = np.zeros((height, width), np.uint8)
    stripe[:, width // 5 : width // 5 + 7] = 1
    runs = np.diff(np.flatnonzero(np.diff(stripe.T.reshape(-1), prepend=0, append=0)), prepend=0)
    uncompressed = dict(size=[height, width], counts=[*runs.tolist(), 0])
    uncompressed['counts'][-1] = height * width - sum(uncompressed['counts'])
    near = [3.3, 4.1, 40.7, 6.5, 33.9, 51.1, 12.5, 30.3]
    far = [width - 30.5, height - 40.1, width + 2.0, height - 35.5, width - 9.7, height + 1.5]
    found = [
        dict(segmentation=[near, far], bbox=[3.3, 4.1, width - 3.3, height - 4.1]),
        dict(segmentation=compressed, bbox=coco_mask.toBbox(counts).tolist()),
        dict(segmentation=uncompressed, bbox=[width // 5, 0, 7, height]),
        dict(segmentation=compressed, bbox=[10, 10, 50, 60], iscrowd=1),
        dict(segmentation=[[1.0, 2.0, 3.0, 4.0]], bbox=[1, 2, 2, 2]),
        dict(segmentation=[[50.1, 20.3, 50.1, 90.9, 88.5, 55.5]], bbox=[50.1, 20.3, 38.4, 70.6]),
    ]
    return [dict(dict(iscrowd=0, category_id=1 + i % 2, area=99), **f) for i, f in enumerate(found)]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """JPEGs (colour, grey, rotated by EXIF, without objects) and PNGs (colour, with alpha)."""
    root = tmp_path_factory.mktemp('photos')
    colour, grey = picture(120, 170), picture(150, 110, 1)
    cv2.imwrite(str(root / 'colour.jpg'), colour)
    cv2.imwrite(str(root / 'grey.jpg'), grey)
    cv2.imwrite(str(root / 'empty.jpg'), colour)
    cv2.imwrite(str(root / 'colour.png'), picture(90, 140))
    alpha = np.dstack([picture(100, 100), np.full((100, 100), 7, np.uint8)])
    cv2.imwrite(str(root / 'alpha.png'), alpha)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6  # 120x170 in the file, 170x120 for its reader
    Image.fromarray(colour).save(root / 'rotated.jpg', exif=exif)
    sizes = dict(colour=(120, 170), grey=(150, 110), rotated=(170, 120))
    names = ['colour.jpg', 'grey.jpg', 'rotated.jpg', 'colour.png', 'alpha.png', 'empty.jpg']
    images, objects = [], []
    for number, name in enumerate(names, 1):
        sizes = {**sizes, 'colour.png': (90, 140), 'alpha': (100, 100), 'empty': (120, 170)}
        height, width = sizes.get(name) or sizes[name.partition('.')[0]]
        images.append(dict(id=number, file_name=name, height=height, width=width))
        for one in [] if name == 'empty.jpg' else annotations(height, width):
            objects.append(dict(one, id=len(objects) + 1, image_id=number))
    categories = [dict(id=1, name='one'), dict(id=2, name='two')]
    content = dict(images=images, annotations=objects, categories=categories)
    (root / 'train.json').write_text(json.dumps(content))
    return root


def coco(root, annotations='train.json', images='', **kwargs):
    init_default_scope('mmdet')
    return CocoDataset(
        ann_file=str(root / annotations), data_prefix=dict(img=f'{root / images}/'), **kwargs
    )


@cache
def pipelines(recipe):
    """The authors' pipeline of a recipe, and ours around it."""
    cfg = Config.fromfile(ROOT / f'configs/{recipe}.py')
    init_default_scope(cfg.default_scope)
    (loader,) = next(leaf_datasets(cfg.train_dataloader)).pipeline
    return Compose(loader.transforms), Compose([loader])


def both(dataset, recipe, seeds, count=None):
    """Yield samples of an image by both pipelines, after the same random numbers."""
    authors, ours = pipelines(recipe)
    for index in range(count or len(dataset)):
        for seed in range(seeds):
            samples = []
            for pipeline in (authors, ours):
                np.random.seed(100 * index + seed)
                samples.append(pipeline(copy.deepcopy(dataset.get_data_info(index))))
            assert (samples[0] is None) == (samples[1] is None)
            if samples[0] is not None:
                yield samples


def difference(a, b):
    """Return the mean difference of two images, in levels of 255."""
    assert a['inputs'].shape == b['inputs'].shape and a['inputs'].dtype == b['inputs'].dtype
    assert b['inputs'].is_contiguous()
    return (a['inputs'].float() - b['inputs'].float()).abs().mean().item()


def assert_same_metainfo(a, b):
    assert set(a.metainfo_keys()) == set(b.metainfo_keys())
    for key in a.metainfo_keys():
        assert np.array_equal(a.get(key), b.get(key)), key


@pytest.mark.parametrize('recipe', RECIPES)
def test_boxes_labels_and_masks_are_those_of_mmdetection(photos, recipe):
    dataset = coco(photos, metainfo=dict(classes=('one', 'two')))
    differences, found = [], dict(gt_instances=0, ignored_instances=0)
    for theirs, ours in both(dataset, recipe, seeds=2):
        differences.append(difference(theirs, ours))
        a, b = theirs['data_samples'], ours['data_samples']
        assert_same_metainfo(a, b)
        for group in found:
            expected, given = a.get(group), b.get(group)
            found[group] += len(given)
            assert torch.equal(given.bboxes.tensor, expected.bboxes.tensor)
            assert torch.equal(given.labels, expected.labels)
            assert isinstance(given.masks, SourceMasks)
            np.testing.assert_array_equal(given.masks.to_ndarray(), expected.masks.masks)
            np.testing.assert_array_equal(given.masks.areas, expected.masks.areas)
            boxes = expected.masks.get_bboxes('hbox').tensor
            assert torch.equal(given.masks.get_bboxes('hbox').tensor, boxes)
    assert found['gt_instances'] > 20 and found['ignored_instances'] > 5
    assert np.mean(differences) < 2


@pytest.mark.skipif(not SHARED.is_dir(), reason='the real images are not there: ../shared/data')
def test_mask_targets_on_photos_are_those_of_bitmaps():
    dataset = coco(SHARED / 'coco_mini', 'annotations/instances_train2017.json', 'train2017')
    rng = np.random.default_rng(0)
    equal, overlaps, differences = [], [], []
    for theirs, ours in both(dataset, 'cascade/convnext_t_coco', seeds=1, count=16):
        differences.append(difference(theirs, ours))
        bitmaps, masks = (s['data_samples'].gt_instances.masks for s in (theirs, ours))
        if not len(masks):
            continue
        objects = rng.integers(0, len(masks), 10)
        boxes = ours['data_samples'].gt_instances.bboxes.tensor.numpy()[objects]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        rois = (boxes + 0.05 * sides * rng.standard_normal(boxes.shape)).astype(np.float32)
        rois[:, 0::2] = rois[:, 0::2].clip(0, masks.width)
        rois[:, 1::2] = rois[:, 1::2].clip(0, masks.height)
        a, b = (m.crop_and_resize(rois, (28, 28), objects).to_ndarray() for m in (bitmaps, masks))
        equal.append((a == b).mean((1, 2)))
        overlaps.append((a & b).sum((1, 2)) / np.maximum((a | b).sum((1, 2)), 1))
    # docs/loader.md has the figures for all photos.
    assert np.concatenate(equal).mean() > 0.998
    assert np.concatenate(overlaps).mean() > 0.99
    assert np.mean(differences) < 2


def test_targets_of_a_padded_batch_have_nothing_in_the_padding(photos):
    dataset = coco(photos, metainfo=dict(classes=('one', 'two')))
    samples = list(both(dataset, 'cascade/convnext_t_coco', seeds=1, count=3))
    targets = []
    for kind in range(2):
        batch = [copy.deepcopy(pair[kind]) for pair in samples]
        data = dict(
            inputs=[s['inputs'] for s in batch], data_samples=[s['data_samples'] for s in batch]
        )
        processor = DetDataPreprocessor(pad_size_divisor=32, pad_mask=True)
        padded = processor(data, training=True)
        height, width = padded['inputs'].shape[-2:]
        masks = [s.gt_instances.masks for s in padded['data_samples']]
        assert all((m.height, m.width) == (height, width) for m in masks)
        # Into the padding on the right and below.
        rois = torch.tensor([[width * 0.5, height * 0.5, width, height], [0, 0, width, height]])
        indices = torch.tensor([0, 1])
        cfg = ConfigDict(mask_size=28)
        targets.append(mask_target([rois] * 3, [indices] * 3, masks, cfg))
    assert targets[0].shape == targets[1].shape == (6, 28, 28)
    assert targets[0].any() and (targets[0] == targets[1]).float().mean() > 0.995


@pytest.mark.parametrize('crop', [(20, 0, 60, 30), (0, 20, 40, 60), (30, 30, 60, 50)])
def test_targets_of_objects_outside_of_a_crop_are_empty(crop):
    size = height, width = 60, 80
    boxes = [(0, 0, 5, 5), (70, 2, 79, 9), (1, 50, 6, 58)]
    polygons = [[[left, top, right, top, right, low, left, low]] for left, top, right, low in boxes]
    masks = SourceMasks([SourceMask(p, size) for p in polygons], Axis.of(height), Axis.of(width))
    cropped = masks.crop(np.array(crop))
    whole = np.tile(np.float32([0, 0, cropped.width, cropped.height]), (3, 1))
    found, expected = (
        kind.crop_and_resize(whole, (28, 28), np.arange(3)).masks
        for kind in (cropped, cropped.to_bitmap())
    )
    assert np.array_equal(found, expected)


def test_masks_can_do_what_bitmaps_can():
    one = np.array([10.0, 10.0, 60.0, 12.0, 30.0, 50.0])
    two = np.array([40.0, 30.0, 70.0, 30.0, 70.0, 58.0, 40.0, 58.0])
    objects = [SourceMask([polygon], (60, 80)) for polygon in (one, two)]
    masks = SourceMasks(objects, Axis.of(60), Axis.of(80))
    bitmaps = masks.to_bitmap()
    steps = (
        lambda m: m.flip('vertical'),
        lambda m: m.rescale((100, 45)),
        lambda m: m.crop(np.array([7, 3, 50, 200])),
        lambda m: m.flip('diagonal'),
        lambda m: m.pad((90, 95)),
        lambda m: m.flip('horizontal'),
        lambda m: m.resize((33, 44)),
        lambda m: m[np.array([False, True])],
        lambda m: type(m).cat([m, m]),
        lambda m: m[torch.tensor([1])],
    )
    for step in steps:
        masks, bitmaps = step(masks), step(bitmaps)
        assert isinstance(masks, SourceMasks) and len(masks) == len(bitmaps)
        assert (masks.height, masks.width) == (bitmaps.height, bitmaps.width)
        np.testing.assert_array_equal(masks.masks, bitmaps.masks)
        again = pickle.loads(pickle.dumps(masks))
        np.testing.assert_array_equal(again.to_ndarray(), bitmaps.masks)
        tensors = (m.to_tensor(torch.float32, 'cpu') for m in (masks, bitmaps))
        assert torch.equal(*tensors)
    whole = (masks.translate((33, 44), 5), masks.expand(60, 60, 3, 4), masks.pad((50, 50), 1))
    assert all(isinstance(other, BitmapMasks) for other in whole)
    empty = masks[[]]
    assert len(empty) == 0 and empty.to_ndarray().shape == (0, 33, 44)
    rois, none = np.zeros((0, 4), np.float32), np.zeros(0, int)
    assert empty.crop_and_resize(rois, (28, 28), none).to_ndarray().shape == (0, 28, 28)
    assert masks.crop_and_resize(rois, (28, 28), none).to_ndarray().shape == (0, 28, 28)


@pytest.mark.filterwarnings('ignore:`reduce_zero_label` will be deprecated')
@pytest.mark.parametrize('crop', ['upernet/convnext_t_ade20k', 'upernet/convnext_b_in22k_ade20k'])
def test_label_maps_are_those_of_mmsegmentation(shapes_ade, crop):
    prefix = dict(img_path='images/training', seg_map_path='annotations/training')
    init_default_scope('mmseg')
    dataset = BaseSegDataset(
        data_root=str(shapes_ade),
        data_prefix=prefix,
        metainfo=dict(classes=[str(i) for i in range(7)]),
        reduce_zero_label=True,
    )
    differences = []
    for theirs, ours in both(dataset, crop, seeds=1, count=8):
        differences.append(difference(theirs, ours))
        a, b = theirs['data_samples'], ours['data_samples']
        assert_same_metainfo(a, b)
        assert torch.equal(b.gt_sem_seg.data, a.gt_sem_seg.data)
    assert np.mean(differences) < 2


def test_a_transform_that_is_not_known_gets_arrays(photos):
    seen = []

    def look(results):
        seen.append((type(results['img']), type(results['gt_masks']), results['img'].shape))
        return results

    init_default_scope('mmdet')
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
    ]
    steps = [*load, look, dict(type='Resize', scale=(32, 32)), dict(type='PackDetInputs')]
    pipeline = Compose([dict(type='convnext_mm.datasets.loader.FastPipeline', transforms=steps)])
    dataset = coco(photos, metainfo=dict(classes=('one', 'two')))
    sample = pipeline(dataset.get_data_info(0))
    assert seen == [(np.ndarray, BitmapMasks, (45, 64, 3))]
    assert sample['inputs'].shape == (3, 32, 32)
    # Without a transform that packs, the results are arrays as well.
    pipeline = Compose([dict(type='convnext_mm.datasets.loader.FastPipeline', transforms=load)])
    results = pipeline(dataset.get_data_info(0))
    assert isinstance(results['img'], np.ndarray) and isinstance(results['gt_masks'], BitmapMasks)


def test_the_switch_gives_the_authors_loader(photos):
    authors, _ = pipelines('cascade/convnext_t_coco')
    cfg = Config.fromfile(ROOT / 'configs/cascade/convnext_t_coco.py')
    cfg.merge_from_dict({'train_dataloader.dataset.pipeline.0.fast': False})
    switched = Compose(cfg.train_dataloader.dataset.pipeline)
    info = coco(photos, metainfo=dict(classes=('one', 'two'))).get_data_info(0)
    samples = []
    for pipeline in (authors, switched):
        np.random.seed(0)
        samples.append(pipeline(copy.deepcopy(info)))
    assert torch.equal(samples[0]['inputs'], samples[1]['inputs'])
    assert type(samples[1]['data_samples'].gt_instances.masks) is BitmapMasks


def jpeg(image):
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def test_a_large_jpeg_is_decoded_at_a_fraction_that_keeps_twice_the_needed_pixels():
    large = picture(1202, 1605)
    content = jpeg(large)
    source = Jpeg.open(content, 'large.jpg')
    assert source.size == (1202, 1605)
    for scale, factor in ((0.6, 1), (0.3, 1), (0.25, 2), (0.13, 2), (0.12, 4), (0.01, 8)):
        pixels, found = source.decode(scale)
        assert found == factor
        assert pixels.shape[:2] == (-(-1202 // factor), -(-1605 // factor))
    lazy = LazyImage(source, Axis.of(1202), Axis.of(1605)).resize(240, 321)
    whole = cv2.resize(large, (321, 240), interpolation=cv2.INTER_AREA)
    part = np.flip(lazy[30:200, 50:300], axis=1).read()
    expected = whole[30:200, 50:300][:, ::-1]
    assert np.abs(part.astype(int) - expected).mean() < 3


def test_a_broken_jpeg_is_named(photos, tmp_path):
    content = (photos / 'colour.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(content[:200])
    _, ours = pipelines('cascade/convnext_t_coco')
    info = coco(photos, metainfo=dict(classes=('one', 'two'))).get_data_info(0)
    with pytest.raises(AssertionError, match=r'failed to load image: .*cut\.jpg'):
        ours(dict(info, img_path=str(tmp_path / 'cut.jpg')))


def test_only_the_size_of_an_upright_jpeg_is_read_from_its_header():
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 3
    Image.fromarray(picture(20, 30)).save(buffer, 'JPEG', exif=exif)
    assert Jpeg.open(buffer.getvalue(), '') is None
    assert Jpeg.open(cv2.imencode('.png', picture(20, 30))[1].tobytes(), '') is None
    assert Jpeg.open(jpeg(picture(20, 30)), '').size == (20, 30)


def test_a_crop_is_read_from_the_pixels_that_a_resize_of_the_whole_axis_would_use():
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        source, first = rng.integers(100, 700), rng.integers(60, 1400)
        axis = Axis.of(source).resize(first)
        start = rng.integers(0, first - 40)
        axis = axis.crop(start, start + rng.integers(20, first - start + 1))
        axis = axis.resize(rng.integers(20, 1400))
        cut = axis.cut()
        assert axis.flip().cut() == cut  # the image is flipped afterwards
        assert 0 <= cut.start < cut.stop <= source
        assert cut.skip >= 0 and cut.skip + cut.size <= cut.resized
        scale = cut.resized / (cut.stop - cut.start)
        for edge in (cut.start, cut.stop):
            position = edge * abs(axis.scale) + axis.offset
            errors.append(abs((edge - cut.start) * scale - cut.skip - position))
    assert np.median(errors) < 0.1 and max(errors) < 1
