"""tools/convert_data.py: any format in, COCO or YOLO out, completely or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from convnext_mm.cli import convert_data as command
from convnext_mm.datasets.own.check import check_own_data
from convnext_mm.datasets.own.convert import convert_data
from convnext_mm.datasets.own.formats.shapes import encoded
from convnext_mm.errors import UserError
from tests.datasets.other_formats import WITHOUT_SPLITS, WRITERS, Picture, Thing, sample
from tests.datasets.test_annotation_formats import contents, written


def converted(root, out, *args, **options):
    convert_data(check_own_data(root), out, *args, **options)
    return check_own_data(out)


@pytest.mark.parametrize('to', ['coco', 'yolo'])
@pytest.mark.parametrize('name', WRITERS)
def test_any_format_becomes_coco_or_yolo_without_loss(tmp_path, name, to):
    polygons = WRITERS[name].polygons
    pictures = sample(polygons, ('',) if name in WITHOUT_SPLITS else ('train', 'val'))
    root = written(tmp_path / 'data', name, pictures)
    before = contents(check_own_data(root))
    after = converted(root, tmp_path / 'out', to)
    assert after.layout.format == {'coco': 'COCO', 'yolo': 'YOLO'}[to]
    assert not after.errors
    again = contents(after)
    assert {s: {*images} for s, images in again.items()} == {s: {*i} for s, i in before.items()}
    for split, images in before.items():
        for stem, objects in images.items():
            assert [o[0] for o in again[split][stem]] == [o[0] for o in objects]
            for new, old in zip(again[split][stem], objects):
                np.testing.assert_allclose(new[1], old[1], atol=1e-3)
                assert bool(new[2]) == bool(old[2]) == polygons
                np.testing.assert_allclose(new[2] or 0, old[2] or 0, atol=1e-3)


def bitmaps(root):
    """Write COCO annotations of one image whose masks are run-length encodings."""
    masks = np.zeros((3, 30, 40), bool)
    masks[0, 3:20, 5:30] = True
    masks[0, 8:12, 10:20] = False  # a hole
    masks[1, 25, 7:9] = masks[1, 2:5, 1] = True  # two parts, one pixel wide
    masks[2] = np.random.default_rng(0).random((30, 40)) < 0.6
    objects = [
        dict(id=i, image_id=1, category_id=7, iscrowd=0, segmentation=encoded(m, 0, 0, (40, 30)))
        for i, m in enumerate(masks, 1)
    ]
    image = dict(id=1, file_name='../photos/a.png', width=40, height=30)
    other = dict(image, id=2, file_name='a.png')
    objects.append(dict(objects[0], id=4, image_id=2))
    crowd = dict(objects[0], id=5, image_id=2, iscrowd=1)
    content = dict(images=[image, other], annotations=[*objects, crowd])
    for folder in ('photos', 'images'):
        (root / folder).mkdir(parents=True)
        Image.new('L', (40, 30)).save(root / folder / 'a.png')
    path = root / 'images' / 'train.json'
    path.write_text(json.dumps(content | dict(info={}, categories=[dict(id=7, name='cat')])))
    return path, masks


def test_run_length_encodings_become_polygons_of_the_same_pixels(tmp_path):
    path, masks = bitmaps(tmp_path / 'data')
    after = converted(path, tmp_path / 'out', 'yolo')
    content = after.splits['train'].content
    (image,) = [i['id'] for i in content['images'] if i['file_name'] == 'photos/a.png']
    polygons = [o['segmentation'] for o in content['annotations'] if o['image_id'] == image]
    for polygon, mask in zip(polygons, masks, strict=True):
        assert (rle.decode(rle.frPyObjects(polygon, 30, 40))[..., 0] == mask).all()


def test_crowds_are_left_out_of_yolo_and_named(tmp_path):
    path, _ = bitmaps(tmp_path / 'data')
    lines = convert_data(check_own_data(path), tmp_path / 'out', 'yolo')
    assert lines[1] == 'train: 1 crowd left out: YOLO has none'


def test_images_of_one_name_get_names_of_their_own_below_the_new_folder(tmp_path):
    path, _ = bitmaps(tmp_path / 'data')
    for to in ('coco', 'yolo'):
        after = converted(path, tmp_path / to, to)
        assert len(after.splits['train'].content['images']) == 2
        files = [p for p in (tmp_path / to).rglob('*.png')]
        assert len({p.resolve() for p in files}) == 2


def test_images_are_links_or_copies(tmp_path):
    root = written(tmp_path / 'data', 'voc')
    for images in ('link', 'copy'):
        converted(root, tmp_path / images, images=images)
        path = tmp_path / images / 'train' / 'img_0.png'
        assert path.is_symlink() == (images == 'link')
        assert path.read_bytes() == (root / 'JPEGImages' / 'img_0.png').read_bytes()


def test_an_existing_folder_stays_as_it_is(tmp_path, capsys):
    root = written(tmp_path / 'data', 'voc')
    (tmp_path / 'out').mkdir()
    assert command.main([str(root), str(tmp_path / 'out')]) == 2
    assert capsys.readouterr().err.startswith(f'error: {tmp_path}/out exists')
    assert [*(tmp_path / 'out').iterdir()] == []


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path, monkeypatch):
    root = written(tmp_path / 'data', 'voc')
    checked = check_own_data(root)
    (root / 'JPEGImages' / 'img_1.png').unlink()
    with pytest.raises(UserError, match='out: cannot be written: No such file'):
        convert_data(checked, tmp_path / 'out', images='copy')
    assert [path.name for path in tmp_path.iterdir()] == ['data']


def test_a_data_set_with_errors_is_not_converted(tmp_path):
    root = written(tmp_path / 'data', 'voc')
    next(root.rglob('img_1.png')).unlink()
    with pytest.raises(UserError, match='has 1 kind of error: correct them first'):
        converted(root, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_masks_of_some_objects_are_left_out_on_request(tmp_path):
    things = [Thing('cat', (2, 2, 9, 9)), Thing('cat', None, [2, 2, 12, 2, 12, 12])]
    root = written(
        tmp_path / 'data', 'labelme', [Picture('a', things=things), Picture('b', things=things)]
    )
    with pytest.raises(UserError, match='1 kind of error'):
        converted(root, tmp_path / 'out')
    after = converted(root, tmp_path / 'out', boxes=True)
    assert [obj[1:3] for obj in contents(after)['train']['a']] == [
        ([2, 2, 9, 9], None),
        ([2, 2, 10, 10], None),
    ]


def test_a_validation_split_is_made_on_request(tmp_path):
    root = written(tmp_path / 'data', 'yolo images')
    assert [*converted(root, tmp_path / 'a', 'yolo').splits] == ['train']
    after = converted(root, tmp_path / 'b', 'yolo', split=True)
    assert [len(coco.content['images']) for coco in after.splits.values()] == [5, 1]


def test_label_maps_are_not_converted(shapes_ade, tmp_path):
    with pytest.raises(UserError, match='holds label maps, and only objects are converted'):
        converted(shapes_ade, tmp_path / 'out')


def test_the_command_prints_what_it_wrote(tmp_path, capsys):
    root = written(tmp_path / 'data', 'cvat')
    assert command.main([str(root), str(tmp_path / 'out'), '--to', 'yolo']) == 0
    text = capsys.readouterr().out
    assert 'objects in CVAT format, 3 classes' in text
    assert text.endswith(
        f'train: 3 images, 6 objects\nval: 3 images, 3 objects\nwritten: {tmp_path / "out"}\n'
    )
    assert (Path(tmp_path) / 'out' / 'labels' / 'train' / 'img_0.txt').exists()
