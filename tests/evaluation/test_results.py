"""Results in files: written and read without loss, and checked before anything computes."""

import contextlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import DumpDetResults
from pycocotools import mask as rle
from pycocotools.coco import COCO

from convnext_mm.config.reading import load_config
from convnext_mm.errors import UserError
from convnext_mm.evaluation.coco import FastCocoMetric
from convnext_mm.evaluation.coco_ap import read_annotations
from convnext_mm.evaluation.report.detection_scores import DetectionScores
from convnext_mm.evaluation.report.evaluated_data import DetectionData, read_detection_data
from convnext_mm.evaluation.report.page import write_report
from convnext_mm.evaluation.results import coco_json
from convnext_mm.evaluation.results.metrics import WriteCocoResults
from tests.evaluation.pycocotools_scores import evaluate_by_pycocotools
from tests.generated import REPEATABLE

HEIGHT = WIDTH = 64


@pytest.fixture(scope='module')
def detector(small_detector, tmp_path_factory):
    path = tmp_path_factory.mktemp('detector') / 'shapes.py'
    path.write_text(small_detector)
    return load_config(path)


@pytest.fixture(scope='module')
def api(shapes_coco):
    return read_annotations(shapes_coco / 'annotations' / 'instances_val.json')


def predicted(api, folder):
    """Yield data samples with the objects of each image, shifted and with odd scores."""
    rng = np.random.default_rng(0)
    for image in api.dataset['images']:
        objects = api.imgToAnns[image['id']]
        boxes = np.array([a['bbox'] for a in objects], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes += rng.normal(0, 1.5, boxes.shape)
        masks = [np.roll(api.annToMask(a), rng.integers(3), 0) for a in objects]
        instances = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            scores=torch.tensor(rng.random(len(objects)), dtype=torch.float32),
            labels=torch.tensor([api.getCatIds().index(a['category_id']) for a in objects]),
            masks=torch.tensor(np.array(masks).reshape(-1, HEIGHT, WIDTH), dtype=torch.bool),
        )
        yield dict(
            pred_instances=instances,
            img_id=image['id'],
            img_path=f'{folder}/val/{image["file_name"]}',
            ori_shape=(HEIGHT, WIDTH),
        )


@pytest.fixture(scope='module')
def written(api, detector, shapes_coco, tmp_path_factory):
    """A folder with the results of one test in each format, and the metrics of that test."""
    folder = tmp_path_factory.mktemp('results')
    ann_file = detector.test_evaluator.ann_file
    metrics = {}
    for metric in (
        FastCocoMetric(ann_file=ann_file, metric=['bbox', 'segm']),
        WriteCocoResults(str(folder / 'found.json'), ann_file),
        DumpDetResults(str(folder / 'found.pkl')),
    ):
        metric.dataset_meta = dict(classes=[c['name'] for c in api.dataset['categories']])
        for sample in predicted(api, shapes_coco):
            metric.process({}, [sample])
        metrics |= metric.evaluate(len(api.imgs))
    return folder, metrics


def by_pycocotools(api, results, iou_type):
    """Return COCO's twelve metrics of a list of results, computed by pycocotools."""
    results = [dict(result) for result in results]
    for result in results:
        mask_score = result.pop('mask_score', result['score'])
        result['score'] = mask_score if iou_type == 'segm' else result['score']
        result.pop('bbox' if iou_type == 'segm' else 'segmentation', None)
    return evaluate_by_pycocotools(api, results, iou_type).stats


def test_pycocotools_reads_the_written_results_and_finds_the_ap_of_the_test(written, api):
    folder, metrics = written
    results = json.loads((folder / 'found.json').read_text())
    for iou_type in ('bbox', 'segm'):
        ap = by_pycocotools(api, results, iou_type)[:6]
        names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
        assert [metrics[f'coco/{iou_type}_{name}'] for name in names] == ap.round(3).tolist()
    assert 0.1 < metrics['coco/bbox_mAP'] < 0.9


def test_results_as_json_and_as_pickle_are_equal_to_the_last_bit(written, detector):
    folder, _ = written
    classes = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
    one, other = (
        read_detection_data(detector, folder / name, classes, 'test')
        for name in ('found.json', 'found.pkl')
    )
    assert one.paths == other.paths and all(map(Path.is_file, map(Path, one.paths.values())))
    for name in ('tested', 'images', 'labels', 'boxes', 'scores'):
        assert np.array_equal(getattr(one.found, name), getattr(other.found, name)), name
    assert [m['counts'].encode() for m in one.found.masks] == [
        m['counts'] for m in other.found.masks
    ]
    figures = [DetectionScores(data, 'segm') for data in (one, other)]
    assert figures[0].summary == figures[1].summary
    assert figures[0].tide == figures[1].tide


def test_results_of_mmdetection_in_two_files_are_read(written, detector, api, tmp_path):
    metric = FastCocoMetric(
        ann_file=detector.test_evaluator.ann_file,
        metric=['bbox', 'segm'],
        format_only=True,
        outfile_prefix=str(tmp_path / 'results'),
    )
    metric.dataset_meta = dict(classes=[c['name'] for c in api.dataset['categories']])
    for sample in predicted(api, 'no folder'):
        metric.process({}, [sample])
    metric._coco_api, metric.cat_ids = api, api.getCatIds()
    metric.evaluate(len(api.imgs))
    ours = by_pycocotools(api, json.loads((written[0] / 'found.json').read_text()), 'segm')
    for name in ('results.bbox.json', 'results.segm.json'):
        data = read_detection_data(
            detector, tmp_path / name, metric.dataset_meta['classes'], 'test'
        )
        assert (data.found.masks is None) == (name == 'results.bbox.json')
        if data.found.masks:
            assert list(DetectionScores(data, 'segm').summary.values()) == pytest.approx(ours)


def test_masks_with_their_own_scores_keep_them(tmp_path, api):
    sample = next(predicted(api, ''))
    scores = sample['pred_instances']['scores']
    sample['pred_instances']['mask_scores'] = scores.flip(0) / 2
    metric = WriteCocoResults(str(tmp_path / 'a.json'), api_file(api, tmp_path))
    metric.dataset_meta = dict(classes=[c['name'] for c in api.dataset['categories']])
    metric.process({}, [sample])
    metric.evaluate(1)
    found = read(tmp_path / 'a.json', api)
    assert found.scores.tolist() == scores.double().tolist()
    assert found.mask_scores.tolist() == (scores.flip(0) / 2).double().tolist()


def test_labels_in_the_order_of_the_ids_keep_their_categories(tmp_path, api):
    backwards = dict(api.dataset, categories=api.dataset['categories'][::-1])
    (tmp_path / 'annotations.json').write_text(json.dumps(backwards))
    sample = next(predicted(api, ''))
    metric = WriteCocoResults(
        str(tmp_path / 'a.json'), str(tmp_path / 'annotations.json'), sort_categories=True
    )
    metric.dataset_meta = dict(classes=[c['name'] for c in api.dataset['categories']])
    metric.process({}, [sample])
    metric.evaluate(1)
    assert (
        read(tmp_path / 'a.json', api).labels.tolist()
        == sample['pred_instances']['labels'].tolist()
    )


def api_file(api, folder):
    (folder / 'annotations.json').write_text(json.dumps(api.dataset))
    return str(folder / 'annotations.json')


def read(path, api):
    return coco_json.read(path, api.imgs, api.cats, api.getCatIds(), list(api.imgs))


# --- what is refused, and how

IMAGE, CATEGORY = 1, 1
MASK = dict(size=[HEIGHT, WIDTH], counts='0PP4')  # the whole image
ENTRY = dict(image_id=IMAGE, category_id=CATEGORY, bbox=[1, 2, 30.5, 40], score=0.5)


def with_mask(**mask):
    return [ENTRY | dict(segmentation=MASK | mask)]


@pytest.mark.parametrize(
    'content, message',
    [
        ('', 'is no JSON, or is cut short: Input data was truncated'),
        ('[{"image_id": 1,', 'is no JSON, or is cut short: Input data was truncated'),
        ('no JSON', r'is no JSON, or is cut short: invalid character'),
        (b'[{"image_id": "\xff"}]', 'is no JSON, or is cut short: .* invalid start byte'),
        ('[' * 100_000, 'nested too deeply'),
        ('[{"x": ' + '[' * 100_000, 'nested too deeply'),
        (dict(annotations=[]), 'found .*annotations.*, expected a list with an object for each'),
        ([ENTRY, 3], 'entry 1: found 3, expected an object'),
        ([ENTRY | dict(image_id=None)], 'entry 0, image_id: found null, expected'),
        ([ENTRY | dict(score='a')], "entry 0, score: found 'a', expected a number"),
        ([ENTRY, dict(image_id=1)], 'entry 1 has no category_id'),
        ([ENTRY | dict(score=float('nan'))], 'entry 0, score: found nan, expected a number from 0'),
        ([ENTRY | dict(score=-0.1)], 'entry 0, score: found -0.1, expected a number from 0'),
        ([ENTRY | dict(bbox=[1, 2, 3])], r'entry 0, bbox: found \[1, 2, 3\], expected a list of l'),
        ([ENTRY | dict(bbox=[1, 2, -3, 4])], r'bbox: found \[1.*-3.*\], expected a width and a'),
        ([ENTRY | dict(bbox=[1, 2, 1e12, 4])], 'entry 0, bbox: .* expected four numbers up to 100'),
        ([ENTRY | dict(bbox=[1, 2, float('inf'), 4])], 'entry 0, bbox: .* expected four numbers'),
        ([ENTRY, ENTRY | dict(image_id=99)] + 2 * [ENTRY | dict(image_id=98)],
         'entry 1, image_id: found 99, expected an id of the annotation file, such as 1, 2, 3; 3 '),
        ([ENTRY | dict(image_id='1')], "entry 0, image_id: found '1', expected an id"),
        ([ENTRY | dict(category_id=99)], 'category_id: found 99, expected an id of the annotation'),
        ([dict(image_id=1, category_id=1, score=1)], 'has neither a bbox nor a segmentation'),
        ([*with_mask(), ENTRY], 'entry 0 has a segmentation, but entry 1 has none'),
        (with_mask(size=[64, 65]), r'size: found \[64, 65\], expected \[64, 64\], the'),
        (with_mask(size=[-1, -1], counts=[1]), r'segmentation.size: found \[-1, -1\]'),
        (with_mask(size=[64]), r'entry 0, segmentation.size: found \[64\], expected a list of'),
        (with_mask(counts='zzzz'), "counts: found 'zzzz', expected an RLE of 4096 pixels"),
        (with_mask(counts=[4095]), r'counts: found \[4095\], expected an RLE of 4096 pixels'),
        (with_mask(counts=[2**40, -(2**40), 4096]), 'expected an RLE of 4096 pixels'),
        ([ENTRY | dict(segmentation=[[1, 2, 3, 4, 5, 6]])], r'segmentation: found .* an object'),
    ],
)  # fmt: skip
def test_results_that_fit_nothing_are_refused_in_one_line(content, message, api, tmp_path):
    path = tmp_path / 'found.json'
    data = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(UserError, match=message) as refused:
        read(path, api)
    assert str(refused.value).startswith(str(path)) and '\n' not in str(refused.value)
    assert len(str(refused.value)) < len(str(path)) + 300


def test_a_category_that_is_no_class_of_the_config_is_refused(api, tmp_path):
    (tmp_path / 'found.json').write_text(json.dumps([ENTRY | dict(category_id=6)]))
    with pytest.raises(UserError, match='found 6, expected an id of the classes of the config'):
        coco_json.read(tmp_path / 'found.json', api.imgs, api.cats, [1, 2], [])


def test_a_detector_that_finds_nothing_has_a_report_with_ap_0(detector, tmp_path):
    (tmp_path / 'found.json').write_text('[]')
    page = write_report(detector, tmp_path / 'found.json', work_dir=tmp_path).read_text()
    assert '<b>0.0</b><span>box AP' in page and '<b>0.0</b><span>mask AP' in page


def test_unusual_results_that_are_valid_have_a_report(detector, api, tmp_path):
    runs = [0, HEIGHT * WIDTH]
    entries = [
        *with_mask(),
        *with_mask(counts=runs),
        *(ENTRY | dict(segmentation=MASK, bbox=box) for box in ([0] * 4, [-9e8, 5, 1e9, 0])),
        *(ENTRY | dict(segmentation=MASK, score=score) for score in (0, 87.5, 1e9)),
    ]
    (tmp_path / 'found.json').write_text(json.dumps(entries))
    page = write_report(detector, tmp_path / 'found.json', work_dir=tmp_path).read_text()
    assert '7 detections' in page
    found = read(tmp_path / 'found.json', api)
    assert found.masks[1] == MASK  # runs in a list are compressed


def test_names_with_braces_and_the_mark_of_windows_are_read(api, tmp_path):
    path = tmp_path / '{0} {name}.json'
    path.write_bytes(b'\xef\xbb\xbf' + json.dumps([ENTRY]).encode())
    assert len(read(path, api)) == 1
    path.write_text(json.dumps([ENTRY | dict(score=-1)]))
    with pytest.raises(UserError, match=r'\{0\} \{name\}.json: entry 0, score: found -1'):
        read(path, api)
    path.write_text('[{"bbox": ["a", 1, 1, 1], "bbox": 3}]')
    with pytest.raises(UserError, match=r'entry 0, bbox.*expected a number'):
        read(path, api)


FOUND = dict(bboxes=np.ones((2, 4), np.float32), scores=np.ones(2), labels=np.zeros(2, int))


@pytest.mark.parametrize(
    'record, message',
    [
        (dict(pred_instances=FOUND), "KeyError: 'img_id'"),
        (dict(img_id=1), 'contain no detections'),
        (dict(img_id=99, pred_instances=FOUND), 'image 99 is not in the annotation file'),
        (dict(img_id=[1], pred_instances=FOUND), 'another form'),
        (dict(img_id=1, pred_instances=7), 'another form'),
        (dict(img_id=1, pred_instances=FOUND | dict(scores=np.ones(3))), 'different numbers of'),
        (dict(img_id=1, pred_instances=FOUND | dict(bboxes=np.ones(7))), 'another form'),
        (dict(img_id=1, pred_instances=FOUND | dict(labels=np.full(2, 9))), 'label: found 9'),
        (dict(img_id=1, pred_instances=FOUND | dict(scores=[None, 1])), 'another form|found nan'),
        (dict(img_id=1, pred_instances=FOUND | dict(masks=[1, 2])), 'another form'),
        (dict(img_id=1, pred_instances=FOUND | dict(masks=[])), 'different numbers of boxes'),
        (dict(img_id=1, pred_instances=FOUND | dict(masks=2 * [dict(MASK, counts=None)])), 'form'),
        (
            dict(img_id=1, pred_instances=FOUND | dict(masks=2 * [dict(MASK, counts=b'\xff')])),
            'RLE',
        ),
    ],
)
def test_a_pickle_with_other_content_is_one_clear_line(detector, record, message, tmp_path):
    (tmp_path / 'found.pkl').write_bytes(pickle.dumps([record]))
    classes = ('circle', 'square', 'triangle', 'star', 'cross', 'ring')
    with pytest.raises(UserError, match=message) as refused:
        read_detection_data(detector, tmp_path / 'found.pkl', classes, 'test')
    assert '\n' not in str(refused.value)


def test_a_pickle_of_numpy_arrays_that_names_no_images_has_a_report(detector, tmp_path):
    records = [
        dict(img_id=i, img_path=path, pred_instances=FOUND | dict(masks=2 * [MASK]))
        for i, path in enumerate(['/dev/zero', 'a\0b', 'a' * 5000, 7], 1)
    ]
    (tmp_path / 'found.pkl').write_bytes(pickle.dumps(records))
    page = write_report(detector, tmp_path / 'found.pkl', work_dir=tmp_path).read_text()
    assert '8 detections' in page


# --- generated results

ODD = st.one_of(
    st.sampled_from([None, True, {}, [], '', 'NaN', 10**30, -(10**30), 2**53 + 1, 1e308, -0.0]),
    st.integers(-3, 70),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(-2, 4100), max_size=4),
    st.lists(st.floats(), min_size=4, max_size=4),
)
COUNTS = st.one_of(
    st.sampled_from(['0' + MASK['counts'], 'PPo31', '', '\x00']),
    st.text(st.characters(min_codepoint=46, max_codepoint=113), max_size=8),
    st.lists(st.integers(-1, 2**33), max_size=4),
    ODD,
)
SIDE = st.sampled_from([0, 1, 5, 16, 30, 40.5, 64])
BOXES = st.fixed_dictionaries(
    dict(
        image_id=st.sampled_from([1, 2]),
        category_id=st.sampled_from([1, 2]),
        score=st.sampled_from([0, 0.25, 0.5, 1]),
        bbox=st.tuples(SIDE, SIDE, SIDE, SIDE).map(list),
    ),
)
RUNS = st.lists(st.integers(0, HEIGHT * WIDTH), max_size=5).map(
    lambda ends: np.diff([0, *sorted(ends), HEIGHT * WIDTH]).tolist()
)
MASKS = RUNS.map(lambda runs: dict(segmentation=MASK | dict(counts=runs)))


@st.composite
def hostile_files(draw):
    """Return the bytes of a results file: valid, or with one odd value, or with odd bytes."""
    entries = draw(st.lists(BOXES, max_size=5))
    if draw(st.booleans()):
        entries = [entry | draw(MASKS) for entry in entries]
    what = draw(st.sampled_from(['valid', 'valid', 'value', 'absent', 'counts', 'bytes']))
    if what in ('value', 'absent', 'counts') and entries:
        entry = draw(st.sampled_from(entries))
        key = draw(st.sampled_from([*ENTRY, 'segmentation', 'mask_score', 'more']))
        if what == 'counts':
            entry['segmentation'] = MASK | dict(counts=draw(COUNTS))
        elif what == 'value':
            entry[key] = draw(ODD)
        else:
            entry.pop(key, None)
    data = json.dumps(entries).encode()
    if what == 'bytes':
        place = draw(st.integers(0, len(data)))
        return data[:place] + draw(st.binary(max_size=3)) + data[place + 1 :]
    return data


@settings(REPEATABLE, max_examples=200)
@given(data=hostile_files())
def test_hostile_results_are_refused_or_have_the_ap_of_pycocotools(small_truth, data):
    api, path = small_truth
    path.write_bytes(data)
    try:
        found = read(path, api)
    except UserError as error:
        assert str(error).startswith(str(path))
        return
    entries = json.loads(data)
    for entry in entries:
        if isinstance(entry.get('segmentation', {}).get('counts'), list):
            entry['segmentation'] = rle.frPyObjects(entry['segmentation'], HEIGHT, WIDTH)
        entry.setdefault(
            'bbox', rle.toBbox(entry['segmentation']).tolist() if found.masks else None
        )
    shown = DetectionData(('a', 'b'), api, [1, 2], found, {})
    for iou_type in ('bbox', 'segm') if found.masks else ('bbox',):
        ours = list(DetectionScores(shown, iou_type).summary.values())
        expected = by_pycocotools(api, entries, iou_type) if entries else [0.0]
        assert ours[: len(expected)] == pytest.approx(list(expected), abs=1e-9)


@pytest.fixture(scope='module')
def small_truth(tmp_path_factory):
    """Two images with one object each, and the path of a results file."""
    api = COCO()
    api.dataset = dict(
        images=[dict(id=i, width=WIDTH, height=HEIGHT, file_name='') for i in (1, 2)],
        categories=[dict(id=i, name=name) for i, name in enumerate('ab', 1)],
        annotations=[
            dict(id=i, image_id=i, category_id=i, bbox=[5, 5, 16, 30], area=480, iscrowd=0,
                 segmentation=[[5, 5, 21, 5, 21, 35, 5, 35]])
            for i in (1, 2)
        ],
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api, tmp_path_factory.mktemp('hostile') / 'found.json'
