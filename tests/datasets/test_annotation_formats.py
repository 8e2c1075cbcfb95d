"""Data sets in other formats than COCO: nothing is lost, and each mistake is named."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from convnext_mm.datasets.own.check import check_own_data
from convnext_mm.datasets.own.formats.shapes import ellipse, encoded, joined
from convnext_mm.datasets.own.recognise import recognise
from convnext_mm.errors import UserError
from convnext_mm.messages.findings import Level
from tests.datasets import other_formats as formats
from tests.datasets.other_formats import WITHOUT_SPLITS, WRITERS, Picture, Thing, sample
from tests.generated import REPEATABLE

ERROR, REPAIRED, NOTE = Level.ERROR, Level.REPAIRED, Level.NOTE


def written(root, name, pictures=None, **options):
    """Write a data set in a format, and return its folder."""
    writer = WRITERS[name]
    if pictures is None:
        pictures = sample(splits=('',) if name in WITHOUT_SPLITS else ('train', 'val'))
    root.mkdir(parents=True, exist_ok=True)
    writer.write(root, pictures, **{**writer.options, **options})
    return root


def contents(checked):
    """Return {split: {image: [(label, box, mask, crowd)]}} of a data set that was read."""
    found = {}
    for split, coco in checked.splits.items():
        names = {c['id']: c['name'] for c in coco.content['categories']}
        images = {i['id']: (Path(i['file_name']).stem, []) for i in coco.content['images']}
        for obj in coco.content['annotations']:
            mask = obj.get('segmentation')
            one = names[obj['category_id']], obj['bbox'], mask, bool(obj['iscrowd'])
            images[obj['image_id']][1].append(one)
        found[split] = dict(images.values())
    return found


def problems(path):
    """Return {what: (level, examples)} of the errors and the notes of a data set."""
    found = check_own_data(path).findings
    assert all(finding.examples or finding.remedy for finding in found)
    return {f.what: (f.level, f.examples) for f in found if f.what != 'images without objects'}


def one(root, name, *things, size=(40, 30), **options):
    """Write a data set of two images with these objects in the first one."""
    other = Thing(things[0].label if things else 'cat', (2, 2, 9, 9))
    pictures = [Picture('a', size, '', [*things]), Picture('b', size, '', [other])]
    return written(root, name, pictures, **options)


# --- there and back


@pytest.mark.parametrize('name', WRITERS)
def test_a_data_set_in_each_format_has_no_problems(tmp_path, name):
    for polygons in (False, True)[: 1 + WRITERS[name].polygons]:
        splits = ('',) if name in WITHOUT_SPLITS else ('train', 'val')
        root = written(tmp_path / str(polygons), name, sample(polygons, splits))
        assert recognise(root).format == WRITERS[name].format
        assert problems(root) == {}
        checked = check_own_data(root)
        assert checked.classes == ('cat', 'größe', 'traffic light')
        assert [*checked.splits] == ['train', 'val'][: len(splits)]


@pytest.mark.parametrize('polygons', [False, True])
@pytest.mark.parametrize('name', WRITERS)
def test_written_and_read_back_nothing_is_lost(name, polygons):
    writer = WRITERS[name]
    if polygons and not writer.polygons:
        return
    splits = ('',) if name in WITHOUT_SPLITS else ('train', 'val', 'test')

    @settings(REPEATABLE, max_examples=8)
    @given(formats.data_sets(polygons, splits))
    def check(pictures):
        with tempfile.TemporaryDirectory() as folder:
            root = written(Path(folder, 'data'), name, pictures)
            source = recognise(root).read()
        assert source.findings == []
        read = {}
        for split, images in source.splits.items():
            read[split] = {image.path.stem: image for image in images}
        expected = formats.by_split(pictures)
        assert {s: {p.stem for p in inside} for s, inside in expected.items()} == {
            s: {*images} for s, images in read.items()
        }
        for split, inside in expected.items():
            for picture in inside:
                compare(read[split][picture.stem], picture, writer.tolerance)
        labels = {thing.label for picture in pictures for thing in picture.things}
        assert source.classes is None or {*source.classes} == labels

    check()


def compare(image, picture, tolerance):
    assert image.size in (None, picture.size)
    assert [obj.label for obj in image.objects] == [thing.label for thing in picture.things]
    for obj, thing in zip(image.objects, picture.things):
        if thing.polygon:
            assert obj.box is None
            np.testing.assert_allclose(obj.mask, [thing.polygon], atol=tolerance)
        else:
            assert obj.mask is None
            np.testing.assert_allclose(obj.box, thing.box, atol=tolerance)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'latin-1'])
@pytest.mark.parametrize('name', ['yolo beside', 'yolo images/train', 'voc', 'via project'])
def test_other_encodings_are_read(tmp_path, name, encoding):
    root = written(tmp_path / 'data', name, encoding=encoding)
    found = problems(root)
    assert set(found) == ({'files that are not UTF-8'} if encoding == 'latin-1' else set())
    assert check_own_data(root).classes == ('cat', 'größe', 'traffic light')


@pytest.mark.parametrize('name', ['via csv', 'via export', 'labelme', 'cvat', 'supervisely'])
def test_files_of_windows_are_read_in_utf_16(tmp_path, name):
    root = written(tmp_path / 'data', name, encoding='utf-16')
    assert problems(root) == {}
    assert check_own_data(root).classes == ('cat', 'größe', 'traffic light')


# --- the images


def rewrite(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


@pytest.mark.parametrize(
    'name, file',
    [
        ('labelme', 'img_1.json'),
        ('via project', 'via_project.json'),
        ('via csv', 'via_export_csv.csv'),
        ('cvat', 'annotations.xml'),
    ],
)
def test_paths_of_windows_and_images_in_other_folders_are_found(tmp_path, name, file):
    root = written(tmp_path / 'data', name, sample(splits=('',)))
    rewrite(root / file, ('img_1.png', 'C:/photos/img_1.png'))
    rewrite(root / file, ('C:/photos/', r'C:\\photos\\' if 'json' in file else 'C:\\photos\\'))
    (root / 'photos').mkdir()
    image = next(root.rglob('img_1.png'))
    image.rename(root / 'photos' / image.name)
    assert problems(root) == {}
    assert len(contents(check_own_data(root))['train']['img_1']) == 2


@pytest.mark.parametrize('name', ['voc', 'labelme', 'via project', 'cvat', 'supervisely'])
def test_annotations_without_an_image_are_errors_that_name_the_file(tmp_path, name):
    root = written(tmp_path / 'data', name)
    next(root.rglob('img_1.png')).unlink()
    level, (example,) = problems(root)['annotations whose image is missing']
    assert level is ERROR and 'img_1' in example
    assert any((root / part).is_file() for part in re.split(r'[: ]', example))


def test_labels_without_an_image_are_errors_and_images_without_labels_have_no_objects(tmp_path):
    root = written(tmp_path / 'data', 'yolo images/train')
    (root / 'images/train/img_2.png').unlink()
    (root / 'labels/train/img_0.txt').unlink()
    (root / 'labels/train/notes.txt').write_text('read me')
    assert problems(root) == {
        'annotations whose image is missing': (ERROR, ('labels/train/img_2.txt',))
    }
    assert contents(check_own_data(root))['train']['img_0'] == []


def test_several_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    pictures = sample(splits=('',))
    root = written(tmp_path / 'data', 'cvat', pictures)
    for folder in ('a', 'b'):
        pictures[0].write(root / 'images' / folder)
    (root / 'images' / 'img_0.png').unlink()
    level, (example,) = problems(root)['annotations that fit several images of one name']
    assert level is ERROR and 'images/a/img_0.png and images/b/img_0.png' in example
    rewrite(root / 'annotations.xml', ('name="img_0.png"', 'name="b/img_0.png"'))
    assert problems(root) == {}


def test_the_image_with_the_name_of_the_xml_is_used_where_the_xml_names_another(tmp_path):
    root = written(tmp_path / 'data', 'voc')
    rewrite(root / 'Annotations' / 'img_0.xml', ('img_0.png', 'old.png'))
    assert problems(root) == {}
    rewrite(root / 'Annotations' / 'img_0.xml', ('old.png', 'img_1.png'))
    what = 'annotations that name another image than the one with their own name'
    assert problems(root) == {what: (NOTE, ('Annotations/img_0.xml: img_1.png',))}


def test_a_file_that_is_cut_off_is_named_once(tmp_path):
    for name, file in (('voc', 'Annotations/img_0.xml'), ('labelme', 'train/img_0.json')):
        root = written(tmp_path / name, name)
        (root / file).write_text((root / file).read_text()[:60])
        (found,) = problems(root).items()
        assert found[0] == 'annotation files that cannot be read'
        assert found[1][0] is ERROR and found[1][1][0].startswith(f'{file}: ')


def test_images_without_a_file_are_no_images_without_objects(tmp_path):
    for name in ('voc beside', 'labelme'):
        root = written(tmp_path / name, name)
        next(root.glob('train/img_0.*[ln]')).unlink()
        assert problems(root)['images without an annotation file'] == (NOTE, ('train/img_0.png',))


@pytest.mark.parametrize('orientation, declared', [(6, True), (6, False), (1, False)])
def test_sizes_are_the_ones_of_the_turned_image(tmp_path, orientation, declared):
    """YOLO has no sizes, so nothing tells whether the labels are for the turned image."""
    name = 'labelme' if declared else 'yolo images'
    root = one(tmp_path / 'data', name, Thing('cat', (2, 3, 10, 20)), size=(30, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = (30, 40) if orientation == 1 else (40, 30)
    Image.new('L', stored).save(next(root.rglob('a.png')), exif=exif)
    found = problems(root)
    assert [*found] == (
        ['images that their EXIF data turns or mirrors, which no size in the annotations tells']
        if orientation == 6 and not declared
        else []
    )
    ((_, box, _, _),) = contents(check_own_data(root))['train']['a']
    np.testing.assert_allclose(box, [2, 3, 10, 20], atol=1e-3)


def test_another_size_in_the_annotations_is_an_error(tmp_path):
    for name, file in (('voc', 'Annotations/img_0.xml'), ('cvat', 'annotations.xml')):
        root = written(tmp_path / name, name)
        old = '<width>40<' if name == 'voc' else 'width="40"'
        rewrite(root / file, (old, old.replace('40', '400')))
        level, examples = problems(root)['images whose size differs from the annotations']
        assert level is ERROR and 'the annotations say 400x30' in examples[0]


# --- YOLO


def test_the_paths_in_data_yaml_that_tools_write_are_understood(tmp_path):
    for number, (train, val) in enumerate(
        (
            ('../train/images', '../valid/images'),  # Roboflow
            ('/home/somebody/data/train/images', '/home/somebody/data/valid/images'),
            (r'train\images', r'valid\images'),
        )
    ):
        pictures = sample(splits=('train', 'valid'))
        root = written(tmp_path / str(number), 'yolo train/images', pictures)
        (root / 'data.yaml').write_text(f'train: {train}\nval: {val}\nnc: 3\nnames: [a, b, c]\n')
        checked = check_own_data(root)
        assert [*checked.splits] == ['train', 'val'] and checked.classes == ('a', 'b', 'c')
        assert check_own_data(root / 'data.yaml').classes == ('a', 'b', 'c')
        lists = not any('not there' in note for note in checked.notes)
        assert lists == ('somebody' not in train)


def test_the_yolo_export_of_cvat_is_read(tmp_path):
    root = tmp_path / 'data'
    for picture in sample(splits=('',)):
        picture.write(root / 'obj_train_data')
        (root / 'obj_train_data' / f'{picture.stem}.txt').write_text('1 0.5 0.5 0.5 0.5\n')
    names = [f'data/obj_train_data/img_{i}.png' for i in range(6)]
    (root / 'train.txt').write_text('\n'.join(names))
    (root / 'obj.names').write_text('cat\ndog\n')
    (root / 'obj.data').write_text('classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n')
    assert [*problems(root)] == ['categories without objects']
    checked = check_own_data(root)
    assert checked.classes == ('cat', 'dog')
    assert contents(checked)['train']['img_4'] == [('dog', [10, 7.5, 20, 15], None, False)]


@pytest.mark.parametrize(
    'line, what, example',
    [
        ('7 0.5 0.5 0.5 0.5', 'class ids without a name', 'line 2: id 7'),
        ('0 0.5 0.5 0.5', 'objects with values that cannot be read', "line 2: '0 0.5 0.5 0.5'"),
        ('cat 0.5 0.5 0.5 0.5', 'objects with values that cannot be read', 'line 2'),
        ('-1 0.5 0.5 0.5 0.5', 'objects with values that cannot be read', 'line 2'),
        ('0 nan 0.5 0.5 0.5', 'objects with values that cannot be read', 'line 2'),
        ('0 0.1 0.1 0.2 0.2 0.9', 'objects with values that cannot be read', 'line 2'),
        ('0 20 15 10 8', 'coordinates that are no fractions of the image', 'line 2'),
        ('0 1.4 0.5 0.2 0.2', 'boxes outside of their images', 'line 2'),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, what, example):
    things = [Thing('cat', (2, 2, 9, 9)) for _ in range(8)]
    pictures = [Picture(f'{i}', things=things) for i in range(3)]
    root = written(tmp_path / 'data', 'yolo images', pictures)
    labels = (root / 'labels/0.txt').read_text().splitlines()
    labels[1] = line
    (root / 'labels/0.txt').write_text('\n'.join(labels))
    level, (found,) = problems(root)[what]
    assert level is ERROR and found.startswith('labels/0.txt line 2') and example in found


def test_without_names_the_classes_are_numbered(tmp_path):
    root = written(tmp_path / 'data', 'yolo beside')
    (root / 'classes.txt').unlink()
    assert [*problems(root)] == ['no class names, so they are called class 0, class 1, class 2']
    assert check_own_data(root).classes == ('class 0', 'class 1', 'class 2')


def test_keypoints_of_yolo_are_left_out_and_the_boxes_kept(tmp_path):
    root = one(tmp_path / 'data', 'yolo images', Thing('cat', (2, 2, 9, 9)))
    with (root / 'data.yaml').open('a') as file:
        file.write('kpt_shape: [1, 3]\n')
    rewrite(root / 'labels/a.txt', ('\n', ' 0.5 0.5 2\n'))
    assert problems(root) == {'objects with keypoints': (NOTE, ('labels/a.txt line 1',))}


def test_folders_of_other_names_are_paired_by_the_names_of_the_files(tmp_path):
    root = written(tmp_path / 'data', 'yolo images')
    (root / 'images').rename(root / 'photos')
    (root / 'labels').rename(root / 'boxes')
    assert problems(root) == {}
    assert sum(map(len, contents(check_own_data(root))['train'].values())) == 9


# --- Pascal VOC


def test_difficult_objects_are_crowds(tmp_path):
    things = Thing('cat', (2, 2, 9, 9), crowd=True), Thing('cat', (5, 5, 9, 9))
    root = one(tmp_path / 'data', 'voc', *things)
    what = 'objects marked as difficult or as a crowd'
    assert problems(root) == {what: (NOTE, ('Annotations/a.xml object 1',))}
    assert [obj[3] for obj in contents(check_own_data(root))['train']['a']] == [True, False]


def test_the_archives_of_voc_count_pixels_from_1(tmp_path):
    root = one(tmp_path / 'data', 'voc', Thing('cat', (2, 2, 9, 9)))
    database = '<source><database>The VOC2007 Database</database></source><size>'
    rewrite(root / 'Annotations' / 'a.xml', ('<size>', database))
    assert contents(check_own_data(root))['train']['a'][0][1] == [1, 1, 10, 10]


def test_masks_in_segmentation_object_are_read(tmp_path):
    pictures = sample(splits=('',))
    root = written(tmp_path / 'data', 'voc', pictures)
    (root / 'SegmentationObject').mkdir()
    for picture in pictures:
        values = np.zeros(picture.size[::-1], np.uint8)
        for number, thing in enumerate(picture.things, 1):
            x1, y1, x2, y2 = map(int, thing.corners)
            values[y1:y2, x1:x2] = number
        Image.fromarray(values).save(root / 'SegmentationObject' / f'{picture.stem}.png')
    assert problems(root) == {}
    objects = check_own_data(root).splits['train'].content['annotations']
    assert objects[0]['area'] == 120 and objects[0]['segmentation']['size'] == [30, 40]
    Image.new('L', (41, 30), 1).save(root / 'SegmentationObject' / 'img_0.png')
    assert problems(root)['masks whose size differs from their image'][0] is ERROR
    (root / 'SegmentationObject' / 'img_0.png').unlink()
    note = 'SegmentationObject: not used, some images have no mask there'
    assert note in check_own_data(root).notes


def test_a_listed_image_without_an_xml_and_an_image_in_no_list_are_named(tmp_path):
    root = written(tmp_path / 'data', 'voc')
    (root / 'ImageSets' / 'Main' / 'train.txt').write_text('img_0  1\nimg_2\ngone\n')
    found = problems(root)
    what = 'images in the list of a split that have no annotation file'
    assert found[what] == (ERROR, ('ImageSets/Main/train.txt: gone',))
    assert found['images in no split'] == (NOTE, ('JPEGImages/img_4.png',))


def test_label_maps_of_voc_stay_label_maps_if_each_image_has_one(tmp_path):
    root = written(tmp_path / 'data', 'voc')
    (root / 'SegmentationClass').mkdir()
    maps = [root / 'SegmentationClass' / f'img_{i}.png' for i in range(6)]
    for path in maps:
        Image.new('L', (8, 8)).save(path)
    assert recognise(root).kind == 'maps'
    maps[0].unlink()
    assert recognise(root).format == 'Pascal VOC'


def test_entities_in_xml_are_refused(tmp_path):
    root = written(tmp_path / 'data', 'voc')
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation><name>&y;</name>'
    rewrite(root / 'Annotations' / 'img_0.xml', ('<annotation>', bomb))
    level, (example,) = problems(root)['annotation files that cannot be read']
    assert level is ERROR and 'Annotations/img_0.xml: ' in example and 'DOCTYPE' in example


# --- VIA


def via(root, *attributes, options=None):
    """Write a VIA project whose regions have these attributes."""
    things = [Thing('cat', (2 + i, 2, 9, 9)) for i in range(len(attributes))]
    one(root, 'via project', *things)
    path = root / 'via_project.json'
    content = json.loads(path.read_text())
    entries = content['_via_img_metadata'].values()
    regions = [region for entry in entries for region in entry['regions']]
    for region, values in zip(regions, [*attributes, attributes[0]]):
        region['region_attributes'] = values
    content['_via_attributes'] = dict(region=options or {})
    path.write_text(json.dumps(content))
    return root


def labels(root):
    return [obj[0] for obj in contents(check_own_data(root))['train']['a']]


def test_regions_without_attributes_have_one_class(tmp_path):
    root = via(tmp_path, {}, {'note': ''})
    assert [*problems(root)] == ['no object has an attribute, so all have the class "object"']
    assert labels(root) == ['object', 'object']


def test_the_class_is_the_attribute_that_most_regions_have(tmp_path):
    root = via(tmp_path, dict(kind='cat', note='blurred'), dict(kind='dog'), dict(kind='cat'))
    what = 'the regions have several attributes, and "kind" is the class'
    assert problems(root)[what][0] is NOTE
    assert labels(root) == ['cat', 'dog', 'cat']


def test_of_attributes_filled_equally_often_a_usual_name_is_the_class(tmp_path):
    root = via(tmp_path, dict(colour='red', Label='cat'), dict(colour='red', Label='dog'))
    assert labels(root) == ['cat', 'dog']


def test_choices_of_lists_and_checkboxes_are_classes(tmp_path):
    options = dict(kind=dict(type='dropdown', options={'1': 'cat', '2': 'dog'}))
    assert labels(via(tmp_path / 'a', dict(kind='2'), options=options)) == ['dog']
    assert labels(via(tmp_path / 'b', dict(kind={'cat': True, 'dog': False}))) == ['cat']
    root = via(tmp_path / 'c', dict(kind='x'), dict(kind={'cat': True, 'dog': True}), {})
    found = problems(root)
    place = 'via_project.json a.png region'
    assert found['objects with several classes'] == (ERROR, (f'{place} 2',))
    assert found['objects without a class'] == (ERROR, (f'{place} 3',))


def test_circles_and_ellipses_become_polygons_and_points_are_left_out(tmp_path):
    root = via(tmp_path, *[dict(kind='cat')] * 3)
    path = root / 'via_project.json'
    content = json.loads(path.read_text())
    regions = next(iter(content['_via_img_metadata'].values()))['regions']
    shapes = (
        dict(name='circle', cx=20, cy=15, r=10),
        dict(name='ellipse', cx=20, cy=15, rx=10, ry=5, theta=0),
        dict(name='point', cx=3, cy=3),
    )
    for region, shape in zip(regions, shapes):
        region['shape_attributes'] = shape
    path.write_text(json.dumps(content))
    found = problems(root)
    assert found['shapes without an area: point, polyline, line'][0] is NOTE
    assert found['objects without a mask, while others have one'][0] is ERROR
    areas = [o['area'] for o in check_own_data(root).splits['train'].content['annotations'][:2]]
    np.testing.assert_allclose(areas, [np.pi * 100, np.pi * 50], rtol=0.02)


def test_a_project_and_its_exports_in_one_folder_are_read_once(tmp_path):
    root = written(tmp_path / 'data', 'via project')
    written(tmp_path / 'data', 'via export')
    assert problems(root) == {}
    assert len(contents(check_own_data(root))['train']['img_4']) == 2


def test_two_projects_with_an_image_in_common_use_the_first(tmp_path):
    root = written(tmp_path / 'data', 'via project', sample(splits=('',)))
    text = (root / 'via_project.json').read_text()
    (root / 'via_project_b.json').write_text(text)
    level, examples = problems(root)['images that several files annotate']
    assert level is NOTE and len(examples) == 6
    assert sum(map(len, contents(check_own_data(root))['train'].values())) == 9


# --- Labelme, CVAT, Supervisely


def labelme(root, *shapes):
    """Write one Labelme file with these shapes."""
    one(root, 'labelme', Thing('cat', (2, 2, 9, 9)))
    path = root / 'a.json'
    content = json.loads(path.read_text())
    content['shapes'] = [*shapes]
    path.write_text(json.dumps(content))
    return root


def test_shapes_of_one_group_are_one_object(tmp_path):
    squares = [[[x, 2], [x + 5, 2], [x + 5, 7], [x, 7]] for x in (2, 12, 22)]
    shapes = [dict(label='cat', points=p, group_id=1) for p in squares[:2]]
    root = labelme(tmp_path, *shapes, dict(label='dog', points=squares[2], group_id=1))
    first, second = contents(check_own_data(root))['train']['a']
    assert (first[0], len(first[2])) == ('cat', 2) and (second[0], len(second[2])) == ('dog', 1)
    assert first[1] == [2, 2, 15, 5]


def test_masks_of_labelme_and_supervisely_are_bitmaps_at_a_place(tmp_path):
    bitmap = np.zeros((6, 8), bool)
    bitmap[1:, 2:] = True
    shape = dict(label='cat', points=[[30, 3], [37, 8]], shape_type='mask')
    root = labelme(tmp_path / 'a', dict(shape, mask=formats.as_png(bitmap)))
    (found,) = contents(check_own_data(root))['train']['a']
    assert found[1] == [32, 4, 6, 5]
    root = one(tmp_path / 'b', 'supervisely', Thing('cat', (2, 2, 9, 9)))
    path = root / 'ds0' / 'ann' / 'a.png.json'
    content = json.loads(path.read_text())
    data = dict(data=formats.packed(bitmap), origin=[30, 3])
    content['objects'] = [dict(classTitle='cat', geometryType='bitmap', bitmap=data)]
    path.write_text(json.dumps(content))
    (again,) = contents(check_own_data(root))['train']['a']
    assert again == found


def test_masks_of_cvat_are_runs_along_the_rows(tmp_path):
    root = one(tmp_path, 'cvat', Thing('cat', (2, 2, 9, 9)))
    mask = '<mask label="cat" rle="2, 2, 1, 3" left="5" top="6" width="4" height="2"></mask>'
    text = (root / 'annotations.xml').read_text()
    (root / 'annotations.xml').write_text(re.sub('<box.*?</box>', mask, text))
    (found,) = contents(check_own_data(root))['train']['a']
    pixels = rle.decode(rle.frPyObjects(found[2], 30, 40))
    assert [*zip(*np.nonzero(pixels))] == [(6, 7), (6, 8), (7, 6), (7, 7), (7, 8)]


def test_holes_of_polygons_stay_empty(tmp_path):
    root = one(tmp_path, 'supervisely', Thing('cat', None, [2, 2, 22, 2, 22, 22, 2, 22]))
    path = root / 'ds0' / 'ann' / 'a.png.json'
    content = json.loads(path.read_text())
    hole = [[7, 7], [17, 7], [17, 17], [7, 17]]
    content['objects'][0]['points']['interior'] = [hole]
    path.write_text(json.dumps(content))
    checked = check_own_data(root)
    assert checked.splits['train'].content['annotations'][0]['area'] == 300


@pytest.mark.parametrize('turn', [0, 90])
def test_rotated_boxes_become_their_enclosing_boxes(tmp_path, turn):
    root = one(tmp_path, 'cvat', Thing('cat', (10, 10, 8, 4)))
    rewrite(root / 'annotations.xml', ('xtl="10"', f'rotation="{turn}" xtl="10"'))
    (found,) = contents(check_own_data(root))['train']['a']
    np.testing.assert_allclose(found[1], [12, 8, 4, 8] if turn else [10, 10, 8, 4])
    assert [*problems(root)] == (['rotated boxes'] if turn else [])


def test_a_class_that_meta_json_does_not_declare_is_an_error(tmp_path):
    root = written(tmp_path / 'data', 'supervisely')
    rewrite(root / 'meta.json', ('"cat"', '"dog"'))
    level, examples = problems(root)['objects with a class that meta.json does not declare']
    assert level is ERROR and examples[0] == "train/ann/img_0.png.json object 1: 'cat'"


# --- shapes


@settings(REPEATABLE, max_examples=40)
@given(st.data())
def test_a_bitmap_at_any_place_is_encoded_as_pycocotools_does(data):
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    left, top = data.draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    bitmap = np.array(bits).reshape(height, width)
    canvas = np.zeros((40, 40), np.uint8)
    canvas[20 + top : 20 + top + height, 20 + left : 20 + left + width] = bitmap
    expected = canvas[20:27, 20:28]
    found = encoded(bitmap, left, top, (8, 7))
    assert sum(found['counts']) == 56
    assert (rle.decode(rle.frPyObjects(found, 7, 8)) == expected).all()


def test_joined_polygons_are_filled_as_single_ones():
    outline, hole, other = (
        [2, 2, 30, 2, 30, 25, 2, 25],
        [8, 8, 20, 8, 20, 20, 8, 20],
        [33, 5, 39, 5, 39, 28, 33, 28],
    )
    pixels = [rle.decode(rle.frPyObjects([p], 30, 40))[..., 0] for p in (outline, hole, other)]
    expected = pixels[0] - pixels[1] + pixels[2]
    found = rle.decode(rle.frPyObjects([joined([outline, hole, other])], 30, 40))[..., 0]
    assert (found == expected).all()


def test_a_turned_ellipse_is_as_wide_as_it_was_high():
    points = np.array(ellipse(20, 15, 10, 4, np.pi / 2)).reshape(-1, 2)
    np.testing.assert_allclose(np.ptp(points, 0), [8, 20], rtol=0.01)


# --- formats that are not read


@pytest.mark.parametrize(
    'file, content, name',
    [
        ('export.ndjson', '{"data_row": {"id": "a"}}', 'Labelbox'),
        ('project.json', '[{"id": 1, "annotations": [{"result": []}]}]', 'Label Studio'),
        ('via3.json', '{"project": {"pid": "x"}, "vid_list": []}', 'VIA 3'),
        ('train.tfrecord', 'x', 'TFRecord'),
        ('000001.txt', 'Car 0.00 0 -1.5 1 2 3 4 1.5 1.6 3.7 -1.2 1.8 9.1 -1.5', 'KITTI'),
        ('P0001.txt', '1 2 3 4 5 6 7 8 plane 0', 'DOTA'),
        ('boxes.csv', 'filename,width,height,class,xmin,ymin,xmax,ymax', 'a CSV with boxes'),
        ('oid.csv', 'ImageID,Source,LabelName,Confidence,XMin', 'Open Images'),
        ('data.h5', 'x', 'arrays'),
        ('data.zip', 'PK', 'archive'),
    ],
)
def test_annotations_that_are_not_read_are_named_with_the_way_to_go_on(
    tmp_path, file, content, name
):
    (tmp_path / file).write_text(content)
    Image.new('L', (8, 8)).save(tmp_path / '000001.png')
    with pytest.raises(UserError) as raised:
        recognise(tmp_path)
    assert f'{file} ' in str(raised.value) and name in str(raised.value)


def test_a_json_of_coco_for_another_task_is_named(tmp_path):
    text = '{"images": [], "annotations": [], "categories": []}'
    (tmp_path / 'person_keypoints_train2017.json').write_text(text)
    with pytest.raises(UserError, match=r'person_keypoints_train2017\.json is for another task'):
        recognise(tmp_path)


def test_one_file_for_each_mask_is_named(tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / 'a1' / folder).mkdir(parents=True)
        Image.new('L', (8, 8)).save(tmp_path / 'a1' / folder / f'{folder}.png')
    with pytest.raises(UserError, match='there is one file for each mask, which is not read'):
        recognise(tmp_path)


def test_the_file_of_one_image_is_named(tmp_path):
    for name, file in (('labelme', 'a.json'), ('voc beside', 'a.xml')):
        root = one(tmp_path / name, name, Thing('cat', (2, 2, 9, 9)))
        with pytest.raises(UserError, match='file of one image: give'):
            recognise(root / file)


def test_the_tracks_of_a_video_of_cvat_are_refused(tmp_path):
    root = written(tmp_path / 'data', 'cvat')
    rewrite(root / 'annotations.xml', ('</annotations>', '<track id="0"/></annotations>'))
    level, (example,) = problems(root)['annotation files that cannot be read']
    assert level is ERROR and 'export "CVAT for images 1.1"' in example
