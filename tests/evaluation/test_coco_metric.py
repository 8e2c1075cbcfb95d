"""The compiled COCO evaluator agrees with published results and with pycocotools."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
import torch
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from pycocotools import mask as rle

from convnext_mm.errors import SettingError, UserError
from convnext_mm.evaluation import coco_ap
from convnext_mm.evaluation.coco import FastCocoMetric
from convnext_mm.evaluation.detections import Detections
from tests.conftest import ROOT
from tests.evaluation.pycocotools_scores import evaluate_by_pycocotools

REFERENCE = ROOT.parent / 'shared' / 'data' / 'coco_eval_reference'
# AP, AP50, AP75, AP by area; AR of 1, 10 and 100 detections, AR by area.
PUBLISHED = dict(
    bbox=[.505, .697, .573, .586, .519, .501, .387, .594, .595, .640, .566, .564],
    segm=[.320, .562, .299, .387, .310, .327, .268, .415, .417, .469, .377, .381],
)  # fmt: skip
HEIGHT, WIDTH = 100, 120


def indexed(dataset):
    """Return annotations in the form that CocoMetric holds."""
    api = COCO()
    api.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


def by_pycocotools(api, predictions, cat_ids, iou_type, **params):
    results = [
        dict(
            image_id=p['img_id'],
            category_id=cat_ids[p['labels'][i]],
            score=float(p['scores'][i]),
            **(
                dict(bbox=[*p['bboxes'][i, :2], *(p['bboxes'][i, 2:] - p['bboxes'][i, :2])])
                if iou_type == 'bbox'
                else dict(segmentation=copy.deepcopy(p['masks'][i]))
            ),
        )
        for p in predictions
        for i in range(len(p['labels']))
    ]
    return evaluate_by_pycocotools(api, results, iou_type, **params)


def random_case(seed):
    """Make ground truth with crowds and empty images, and detections with equal scores and IoUs.

    Integer coordinates give equal IoUs, few score levels give equal scores, and the areas lie on
    both sides of COCO's limits.
    """
    rng = np.random.default_rng(seed)
    images = [dict(id=7 * i + 1, width=WIDTH, height=HEIGHT) for i in range(12)]
    categories = [dict(id=i, name=f'c{i}') for i in (3, 90, 1)]
    annotations, predictions = [], []
    for image in images:
        count = int(rng.integers(0, 8)) * int(rng.random() < 0.8)
        boxes = np.hstack([rng.integers(0, 50, (count, 2)), rng.integers(4, 70, (count, 2))])
        labels = rng.integers(0, 3, count)
        for box, label, mask in zip(boxes.tolist(), labels, masks_in(boxes)):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image['id'],
                    category_id=categories[label]['id'],
                    bbox=box,
                    area=float(rle.area(mask)),
                    iscrowd=int(rng.random() < 0.2),
                    segmentation=dict(mask, counts=mask['counts'].decode()),
                )
            )
        noise = np.hstack([rng.integers(0, 50, (6, 2)), rng.integers(4, 70, (6, 2))])
        near = np.tile(boxes, (2, 1)) + rng.integers(-3, 4, (2 * count, 4))
        found = np.maximum(np.vstack([near, noise]), (0, 0, 1, 1))
        labels = np.concatenate([labels, labels, rng.integers(0, 3, 6)])
        predictions.append(prediction(image['id'], found, labels, rng.integers(0, 5, len(found))))
    if seed % 2:  # an image without detections
        predictions[-1] = prediction(images[-1]['id'], found[:0], labels[:0], labels[:0])
    dataset = dict(images=images, categories=categories, annotations=annotations)
    return indexed(dataset), predictions


def prediction(image, boxes, labels, scores):
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).astype(np.float32)
    return dict(
        img_id=image,
        bboxes=corners,
        labels=labels,
        scores=np.float32(scores / 5),
        masks=masks_in(boxes),
    )


def masks_in(boxes):
    corners = np.array([0, 0, 1, 0, 1, 0.7, 0.5, 1])
    polygons = corners * np.tile(boxes[:, 2:], 4) + np.tile(boxes[:, :2], 4)
    return [rle.merge(rle.frPyObjects([p], HEIGHT, WIDTH)) for p in polygons.tolist()]


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.skipif(not REFERENCE.is_dir(), reason='needs ../shared/data/coco_eval_reference')
def test_the_published_results_of_the_coco_api_are_reproduced(iou_type):
    api = indexed(json.loads((REFERENCE / 'instances_val2014_100.json').read_text()))
    results = json.loads((REFERENCE / f'instances_val2014_fake{iou_type}100_results.json').read_text())  # fmt: skip  # noqa: E501
    cat_ids = api.getCatIds()
    predictions = []
    for image in api.getImgIds():
        found = [r for r in results if r['image_id'] == image]
        boxes = np.array([r.get('bbox', [0] * 4) for r in found], float).reshape(-1, 4)
        predictions.append(
            dict(
                img_id=image,
                bboxes=np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
                scores=np.array([r['score'] for r in found]),
                labels=np.array([cat_ids.index(r['category_id']) for r in found], int),
                masks=[r.get('segmentation') for r in found],
            )
        )
    truth = coco_ap.ground_truth(api, cat_ids, masks=iou_type == 'segm')
    evaluated = coco_ap.evaluate(truth, Detections.of(predictions), iou_type)
    values = list(coco_ap.summary(evaluated).values())
    assert values == pytest.approx(PUBLISHED[iou_type], abs=5e-4)
    reference = by_pycocotools(api, predictions, cat_ids, iou_type)
    assert values == pytest.approx(reference.stats, abs=1e-9)


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('seed', range(6))
def test_precision_and_recall_equal_the_results_of_pycocotools(seed, iou_type):
    api, predictions = random_case(seed)
    cat_ids = sorted(api.getCatIds())  # the order of pycocotools' arrays
    for p in predictions:
        p['labels'] = np.array([cat_ids.index(api.getCatIds()[i]) for i in p['labels']], int)
    for max_dets in ([1, 10, 100], [2, 5, 7]):
        truth = coco_ap.ground_truth(api, cat_ids, masks=True)
        ours = coco_ap.evaluate(truth, Detections.of(predictions), iou_type, max_dets=max_dets)
        theirs = by_pycocotools(api, predictions, cat_ids, iou_type, maxDets=max_dets)
        for name in ('precision', 'recall', 'scores'):
            np.testing.assert_allclose(ours.eval[name], theirs.eval[name], rtol=0, atol=1e-9)
        if 100 in max_dets:
            assert list(coco_ap.summary(ours).values()) == pytest.approx(theirs.stats, abs=1e-9)


def scored(kind, api, predictions, **settings):
    metric = kind(**settings)
    metric._coco_api = api
    metric.dataset_meta = dict(classes=[c['name'] for c in api.dataset['categories']])
    for p in predictions:
        tensors = {
            key: torch.as_tensor(p[key]) if key != 'masks' else copy.deepcopy(p[key])
            for key in ('bboxes', 'scores', 'labels', 'masks')
        }
        sample = dict(pred_instances=tensors, img_id=p['img_id'], ori_shape=(HEIGHT, WIDTH))
        metric.process({}, [sample])
    with contextlib.redirect_stdout(io.StringIO()):
        return metric.evaluate(len(predictions))


@pytest.mark.parametrize(
    'settings',
    [
        dict(metric=['bbox', 'segm']),
        dict(metric='bbox', iou_thrs=np.array([0.5, 0.75]), proposal_nums=(3, 100, 200)),
        dict(metric='bbox', metric_items=['mAP_50', 'AR@300']),
        dict(metric='proposal'),
    ],
)
def test_names_and_values_in_the_log_equal_those_of_mmdetections_metric(settings):
    api, predictions = random_case(0)
    settings.setdefault('proposal_nums', (100, 300, 1000))
    ours = scored(FastCocoMetric, api, predictions, **settings)
    theirs = scored(CocoMetric, api, predictions, **settings)
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert ours.keys() == theirs.keys()


def test_ap_by_class_is_logged_for_boxes_and_for_masks():
    api, predictions = random_case(0)
    ours = scored(FastCocoMetric, api, predictions, metric=['bbox', 'segm'], classwise=True)
    for metric in ('bbox', 'segm'):
        for label, cat_id in enumerate(api.getCatIds()):
            alone = by_pycocotools(api, predictions, api.getCatIds(), metric, catIds=[cat_id])
            name = api.dataset['categories'][label]['name']
            expected = pytest.approx(alone.stats[0], abs=5.1e-4)
            assert ours[f'coco/{metric}_{name}_precision'] == expected


def test_a_perfect_detector_has_ap_1_even_with_annotation_ids_from_0():
    api, _ = random_case(0)
    for number, annotation in enumerate(api.dataset['annotations']):
        annotation.update(id=number, iscrowd=0)
        del annotation['area']  # it is optional
    predictions = [perfect(api, image) for image in api.getImgIds()]
    assert scored(FastCocoMetric, api, predictions)['coco/bbox_mAP'] == 1


def perfect(api, image):
    truth = [a for a in api.dataset['annotations'] if a['image_id'] == image]
    boxes = np.array([a['bbox'] for a in truth]).reshape(-1, 4)
    labels = np.array([api.getCatIds().index(a['category_id']) for a in truth], int)
    return prediction(image, boxes, labels, np.ones(len(truth)))


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize(
    'renamed',
    [
        lambda i: f'{i:04d}',
        lambda i: i - 2**40,
        lambda i: 2**53 + i // 7,
        lambda i: 2**70 + i,
        lambda i: f'{i:04d}.jpg',
    ],
    ids=['digits', 'negative', 'above 2^53', 'above 2^64', 'names'],
)
def test_image_ids_may_be_any_integer_or_text(renamed, iou_type):
    api, predictions = random_case(0)
    expected = scored(FastCocoMetric, api, predictions, metric=iou_type)
    for image in api.dataset['images']:
        image['id'] = renamed(image['id'])
    for annotation in api.dataset['annotations']:
        annotation['image_id'] = renamed(annotation['image_id'])
    for p in predictions:
        p['img_id'] = renamed(p['img_id'])
    assert scored(FastCocoMetric, indexed(api.dataset), predictions, metric=iou_type) == expected


def test_ap_is_0_without_any_detection():
    api, _ = random_case(0)
    nothing = np.zeros((0, 4))
    predictions = [prediction(i, nothing, np.zeros(0, int), np.zeros(0)) for i in api.getImgIds()]
    metrics = scored(FastCocoMetric, api, predictions, metric=['bbox', 'segm'])
    assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 0


def test_ground_truth_may_come_with_the_samples():
    sample = dict(
        img_id=5,
        ori_shape=(50, 60),
        instances=[dict(bbox=[1, 2, 21, 32], bbox_label=1, ignore_flag=0)],
        pred_instances=dict(
            bboxes=torch.tensor([[1.0, 2, 21, 32]]),
            scores=torch.tensor([0.9]),
            labels=torch.tensor([1]),
        ),
    )
    metric = FastCocoMetric()
    metric.dataset_meta = dict(classes=('a', 'b'))
    metric.process({}, [sample])
    with contextlib.redirect_stdout(io.StringIO()):
        assert metric.evaluate(1)['coco/bbox_mAP'] == 1


def test_predictions_can_be_written_for_an_evaluation_server(tmp_path):
    api, predictions = random_case(0)
    prefix = str(tmp_path / 'results')
    assert scored(FastCocoMetric, api, predictions, format_only=True, outfile_prefix=prefix) == {}
    written = json.loads((tmp_path / 'results.bbox.json').read_text())
    assert len(written) == sum(len(p['labels']) for p in predictions)


def test_error_messages_name_the_mistake():
    api, predictions = random_case(0)
    with pytest.raises(UserError, match='image 999 is not in the annotation file'):
        scored(FastCocoMetric, api, [dict(predictions[0], img_id=999)])
    with pytest.raises(SettingError, match="use 'proposal'"):
        FastCocoMetric(metric='proposal_fast')
    for items, counts in ((['mAP_90'], (100, 300, 1000)), (['AR@1000'], (1, 10, 100))):
        with pytest.raises(SettingError, match=rf'{items[0]} cannot .* allowed: mAP, .*AR_s@'):
            FastCocoMetric(metric_items=items, proposal_nums=counts)
    evaluated = coco_ap.evaluate(
        coco_ap.ground_truth(api, api.getCatIds()),
        Detections.of(predictions),
        'bbox',
        max_dets=(10, 1, 100),
    )
    assert list(coco_ap.summary(evaluated)) == coco_ap.metric_names((10, 1, 100))
    with pytest.raises(
        UserError, match=r'2 categories for the 3 classes .* without a category: dog'
    ):
        coco_ap.category_ids(api, ('c1', 'c3', 'dog'))
    del api.dataset['annotations'][0]['segmentation']
    with pytest.raises(UserError, match='an annotation without a mask'):
        scored(FastCocoMetric, api, predictions, metric='segm')
