import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from convnext_mm.datasets.shapes import scenes as scenes_module
from convnext_mm.datasets.shapes import write as shapes
from convnext_mm.datasets.shapes.__main__ import main
from convnext_mm.datasets.shapes.scenes import CLASSES, Scene, render_scene, render_split

SIZE = dict(height=64, width=96)
COUNTS = dict(train=4, val=3)
FINGERPRINT = (1, [4, 4, 4, 2, 2], [553, 511, 66, 342, 201])  # version, labels, areas
MEAN_BGR = (66.9, 100.1, 72.7)


@pytest.fixture(scope='module')
def scenes() -> list[Scene]:
    return list(render_split('train', 60, **SIZE))


@pytest.fixture(scope='module')
def coco_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('coco') / 'shapes'
    shapes.write_coco(root, **COUNTS, **SIZE)
    return root


@pytest.fixture(scope='module')
def ade_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('ade') / 'shapes'
    shapes.write_ade(root, **COUNTS, **SIZE)
    return root


def same(a: Scene, b: Scene) -> bool:
    pairs = [(a.image, b.image), (a.masks, b.masks), (a.labels, b.labels)]
    return all(np.array_equal(x, y) for x, y in pairs)


def test_a_seed_gives_the_same_scene_again():
    assert same(render_scene(7, **SIZE), render_scene(7, **SIZE))
    assert not same(render_scene(7, **SIZE), render_scene(8, **SIZE))


def test_the_images_are_the_ones_of_their_version():
    """If this fails, increase VERSION and update the values: data sets on disk are reused by it."""
    scene = render_scene(3, **SIZE)
    found = (scenes_module.VERSION, scene.labels.tolist(), scene.masks.sum((1, 2)).tolist())
    assert found == FINGERPRINT
    assert scene.image.mean((0, 1)) == pytest.approx(MEAN_BGR, abs=1)


def test_a_scene_does_not_depend_on_how_many_are_drawn(scenes):
    again = render_split('train', 2, **SIZE)
    assert all(same(a, b) for a, b in zip(again, scenes[:2], strict=True))


def test_splits_and_seeds_share_no_scene(scenes):
    images = [scene.image.tobytes() for scene in scenes[:20]]
    images += [scene.image.tobytes() for scene in render_split('val', 20, **SIZE)]
    images += [scene.image.tobytes() for scene in render_split('train', 20, **SIZE, seed=1)]
    assert len(set(images)) == 60


def test_a_scene_has_the_stated_shapes_and_types(scenes):
    for scene in scenes:
        count = len(scene.labels)
        assert (scene.image.shape, scene.image.dtype) == ((64, 96, 3), np.uint8)
        assert (scene.masks.shape, scene.masks.dtype) == ((count, 64, 96), bool)
        assert (scene.labels.shape, scene.labels.dtype) == ((count,), np.int64)


def test_masks_are_disjoint_and_large_enough_to_recognise(scenes):
    for scene in scenes:
        assert scene.masks.sum(axis=0).max() <= 1
        assert scene.masks.sum(axis=(1, 2)).min() >= scenes_module.MIN_PIXELS


def test_masks_lie_on_the_drawn_edges():
    """A mask one pixel off its object would step onto the other side of the colour edge."""

    def edge_strength(scene: Scene, shift: int) -> float:
        grey = cv2.cvtColor(scene.image, cv2.COLOR_BGR2GRAY).astype(float)
        step = np.abs(np.diff(grey, axis=1))
        borders = np.diff(np.roll(scene.label_map, shift, axis=1).astype(int), axis=1) != 0
        return step[:, 8:-8][borders[:, 8:-8]].mean()

    scenes = list(render_split('val', 20, height=128, width=128))
    strength = {d: np.mean([edge_strength(s, d) for s in scenes]) for d in (-1, 0, 1)}
    assert strength[0] > 1.2 * max(strength[-1], strength[1])


def test_every_class_appears_and_none_dominates(scenes):
    counts = np.bincount(np.concatenate([scene.labels for scene in scenes]))
    assert len(counts) == len(CLASSES) == len(scenes_module.OUTLINES)
    assert counts.min() > 0.4 * counts.max()


def test_objects_hide_parts_of_others(scenes):
    """A circle, square or triangle is convex, also where the border cuts it: a dent is another."""
    convex = [CLASSES.index(name) for name in ('circle', 'square', 'triangle')]
    solidity = []
    for scene in scenes:
        for mask in scene.masks[np.isin(scene.labels, convex)]:
            hull = cv2.convexHull(np.argwhere(mask)[:, ::-1].astype(np.int32))
            filled = cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), hull, 1)
            solidity.append(mask.sum() / filled.sum())
    assert 0.1 < np.mean(np.array(solidity) < 0.9) < 0.5


def test_rings_have_holes(scenes):
    def has_hole(mask: np.ndarray) -> bool:
        _, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        return bool((tree[0, :, 3] >= 0).any())  # some contour lies inside another

    ring = CLASSES.index('ring')
    assert np.mean([has_hole(m) for s in scenes for m in s.masks[s.labels == ring]]) > 0.5


def test_the_label_map_numbers_classes_from_one_over_background_zero(scenes):
    scene = scenes[0]
    expected = np.zeros((64, 96), np.uint8)
    for mask, label in zip(scene.masks, scene.labels, strict=True):
        expected[mask] = label + 1
    assert scene.label_map.dtype == np.uint8
    assert np.array_equal(scene.label_map, expected)


def test_the_smallest_image_has_objects():
    scenes = render_split('train', 10, height=scenes_module.MIN_SIDE, width=scenes_module.MIN_SIDE)
    assert all(len(scene.labels) for scene in scenes)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_coco_annotations_give_back_the_scenes(coco_root, split):
    coco = COCO(coco_root / 'annotations' / f'instances_{split}.json')
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert coco.getCatIds() == list(range(1, len(CLASSES) + 1))
    assert coco.getImgIds() == list(range(1, COUNTS[split] + 1))
    assert coco.getAnnIds() == list(range(1, len(coco.getAnnIds()) + 1))

    for image_id, scene in enumerate(render_split(split, COUNTS[split], **SIZE), start=1):
        info = coco.imgs[image_id]
        image = cv2.imread(str(coco_root / split / info['file_name']))
        assert image.shape == (info['height'], info['width'], 3) == scene.image.shape
        assert np.abs(image.astype(int) - scene.image).mean() < 10  # JPEG

        annotations = coco.imgToAnns[image_id]
        assert [a['category_id'] for a in annotations] == (scene.labels + 1).tolist()
        for annotation, mask in zip(annotations, scene.masks, strict=True):
            rows, columns = np.nonzero(mask)
            low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
            assert np.array_equal(coco.annToMask(annotation), mask)
            assert annotation['bbox'] == [*low, *np.subtract(high, low)]
            assert annotation['area'] == mask.sum()
            assert annotation['iscrowd'] == 0


@pytest.mark.parametrize('split, folder', [('train', 'training'), ('val', 'validation')])
def test_ade_files_are_images_and_label_maps_of_the_scenes(ade_root, split, folder):
    images = sorted((ade_root / 'images' / folder).iterdir())
    maps = sorted((ade_root / 'annotations' / folder).iterdir())
    assert [p.name for p in images] == [m.with_suffix('.jpg').name for m in maps]
    for path, scene in zip(maps, render_split(split, COUNTS[split], **SIZE), strict=True):
        label_map = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert label_map.dtype == np.uint8
        assert np.array_equal(label_map, scene.label_map)


def test_class_folders_have_an_image_of_each_object_with_its_surroundings(tmp_path):
    shapes.write_classes(tmp_path / 'new', **COUNTS, **SIZE)
    for split, count in COUNTS.items():
        files = {file.stem: file for file in (tmp_path / 'new' / split).glob('*/*.png')}
        for number, scene in enumerate(render_split(split, count, **SIZE), start=1):
            for index, (mask, label) in enumerate(zip(scene.masks, scene.labels, strict=True)):
                file = files.pop(f'{number:06d}_{index}')
                assert file.parent.name == CLASSES[label]
                crop = cv2.imread(str(file))
                side = len(crop)
                found = cv2.matchTemplate(scene.image, crop, cv2.TM_SQDIFF)
                _, _, (x, y), _ = cv2.minMaxLoc(found)
                assert np.array_equal(scene.image[y : y + side, x : x + side], crop)
                ys, xs = np.nonzero(mask)
                longest = max(np.ptp(ys), np.ptp(xs)) + 1
                assert side in (round(1.5 * longest), SIZE['height'])
                if longest <= side:
                    assert mask[y : y + side, x : x + side].sum() == mask.sum()
        assert not files


def test_writing_the_same_set_again_touches_nothing(coco_root):
    before = {path: path.stat().st_mtime_ns for path in coco_root.rglob('*')}
    shapes.write_coco(coco_root, **COUNTS, **SIZE)
    assert {path: path.stat().st_mtime_ns for path in coco_root.rglob('*')} == before


@pytest.mark.parametrize('change', [dict(train=5), dict(seed=1), dict(width=64)])
def test_a_set_of_other_parameters_is_not_overwritten(coco_root, change):
    with pytest.raises(FileExistsError, match='another shapes data set'):
        shapes.write_coco(coco_root, **{**COUNTS, **SIZE, **change})


def test_a_set_of_the_other_layout_is_not_overwritten(coco_root):
    with pytest.raises(FileExistsError, match='another shapes data set'):
        shapes.write_ade(coco_root, **COUNTS, **SIZE)


def test_a_folder_with_other_files_is_an_error_and_stays_unchanged(tmp_path):
    (tmp_path / 'thesis.txt').write_text('precious')
    with pytest.raises(FileExistsError, match='not a shapes data set'):
        shapes.write_coco(tmp_path, **COUNTS, **SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        yield from islice(render_split(*args, **kwargs), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, 'render_split', interrupted)
    with pytest.raises(KeyboardInterrupt):
        shapes.write_coco(tmp_path / 'new', **COUNTS, **SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_finishes_second_accepts_the_data_set_of_the_first(tmp_path, monkeypatch):
    root, drawn = tmp_path / 'new', iter([True])

    def overtaken(*args, **kwargs):
        if next(drawn, False):
            shapes.write_coco(root, **COUNTS, **SIZE)
        return render_split(*args, **kwargs)

    monkeypatch.setattr(shapes, 'render_split', overtaken)
    shapes.write_coco(root, **COUNTS, **SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ['new']


@pytest.mark.parametrize('write', [shapes.write_coco, shapes.write_ade, shapes.write_classes])
@pytest.mark.parametrize(
    'argument, value, least',
    [('height', 31, 32), ('width', 31, 32), ('train', -1, 1), ('val', 0, 1), ('seed', -1, 0)],
)
def test_bad_arguments_are_named_with_their_range(tmp_path, write, argument, value, least):
    with pytest.raises(ValueError, match=f'{argument}={value} must be .* {least} or more'):
        write(tmp_path / 'new', **{argument: value})
    assert not (tmp_path / 'new').exists()


def test_the_command_line_options_reach_the_data_set(tmp_path, monkeypatch):
    options = '--layout ade --train 2 --val 1 --size 32 48 --seed 3'
    monkeypatch.setattr('sys.argv', ['shapes', str(tmp_path / 'new'), *options.split()])
    main()
    manifest = json.loads((tmp_path / 'new' / shapes.MANIFEST).read_text())
    expected = dict(layout='ade', train=2, val=1, height=32, width=48, seed=3)
    assert manifest == dict(version=scenes_module.VERSION, **expected)
