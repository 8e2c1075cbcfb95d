"""The content of the page for detectors and segmentors, and how a browser shows it."""

import base64
import csv
import hashlib
import html
import json
import pickle
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from convnext_mm.config.reading import load_config
from convnext_mm.errors import UserError
from convnext_mm.evaluation.report import detection_page, gallery
from convnext_mm.evaluation.report.page import write_report
from convnext_mm.evaluation.report.runs_page import compare_runs
from convnext_mm.evaluation.results import pickled

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)  # fmt: skip  # noqa: E501

SEGMENTOR = """
default_scope = 'mmseg'
model = dict(type='EncoderDecoder', backbone=dict(type='convnext_mm.ConvNeXt', arch='tiny'))
test_dataloader = dict(
    dataset=dict(
        type='BaseSegDataset',
        data_root='DATA_ROOT',
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        metainfo=dict(classes=('background', 'circle', 'square', 'triangle', 'star', 'cross', 'ring')),
        pipeline=[],
    ),
)
test_evaluator = dict(type='IoUMetric')
"""  # noqa: E501


def detector_results(root, noise=1.0):
    """Return the objects of the validation images shifted, about one in five wrong or missed."""
    rng = np.random.default_rng(0)
    api = COCO(root / 'annotations' / 'instances_val.json')
    results = []
    for image in api.dataset['images']:
        boxes, labels, scores, masks = [], [], [], []
        for annotation in api.imgToAnns[image['id']]:
            if rng.random() < 0.1 * noise:
                continue
            x, y, w, h = annotation['bbox'] + noise * rng.normal(0, 1.5, 4)
            boxes.append([x, y, x + w, y + h])
            label = api.getCatIds().index(annotation['category_id'])
            labels.append(label if rng.random() > 0.1 * noise else (label + 1) % 6)
            scores.append(rng.random())
            masks.append(api.annToRLE(annotation))
        instances = dict(
            bboxes=torch.tensor(np.array(boxes).reshape(-1, 4)),
            labels=torch.tensor(labels, dtype=torch.long),
            scores=torch.tensor(scores),
            masks=masks,
        )
        path = str(root / 'val' / image['file_name'])
        results.append(dict(img_id=image['id'], img_path=path, pred_instances=instances))
    return results


@pytest.fixture(scope='module')
def detector(small_detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    (folder / 'shapes.py').write_text(small_detector)
    return load_config(folder / 'shapes.py')


@pytest.fixture(scope='module')
def page(detector, shapes_coco, tmp_path_factory):
    """The report of a detector in the work dir of a training."""
    folder = tmp_path_factory.mktemp('work')
    log = folder / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    records = [dict(loss=2.0 / i, lr=0.1, base_lr=0.1, iter=i, step=i) for i in (1, 2, 3)]
    records.append({'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_50': 0.6, 'step': 1})
    log.write_text('\n'.join(map(json.dumps, records)))
    return write_report(
        detector, detector_results(shapes_coco), work_dir=folder, weights='epoch_2.pth'
    )


class Outline(HTMLParser):
    """The headings, the table rows and all addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.rows, self.addresses = [], [], []
        self._into = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in ('h1', 'h2', 'h3'):
            self.headings.append('')
            self._into = self.headings
        elif tag == 'tr':
            self.rows.append([])
        elif tag in ('td', 'th'):
            self.rows[-1].append('')
            self._into = self.rows[-1]
        self.addresses += [v for k, v in attrs if k in ('href', 'src', 'xlink:href')]

    def handle_endtag(self, tag):
        if tag in ('h1', 'h2', 'h3', 'td', 'th'):
            self._into = None

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] = f'{self._into[-1]} {data.strip()}'.strip()


def test_the_page_has_every_section_and_no_external_address(page):
    outline = Outline(page.read_text())
    assert outline.headings == [
        *('shapes on shapes', 'Accuracy', 'Classes', 'Precision and recall', 'Score threshold'),
        *('Errors', 'Class confusions', 'Objects', 'Labels to look at', 'Images', 'Training'),
        'Recipe and environment',
    ]
    assert outline.addresses
    assert all(address.startswith(('#', 'data:')) for address in outline.addresses)


def test_the_policy_of_the_page_allows_its_own_script_only(page):
    text = page.read_text()
    (script,) = re.findall('<script>(.*?)</script>', text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in text and 'table.sortable' in script


def test_every_id_on_the_page_is_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page.read_text())
    assert len(ids) == len(set(ids))
    assert {a[1:] for a in Outline(page.read_text()).addresses if a[0] == '#'} <= set(ids)


def test_the_numbers_on_the_page_are_those_of_the_evaluation(page, shapes_coco):
    rows = Outline(page.read_text()).rows
    api = COCO(shapes_coco / 'annotations' / 'instances_val.json')
    counts = {row[0]: row[1] for row in rows if len(row) == 10}
    for category in api.dataset['categories']:
        assert counts[category['name']] == str(len(api.getAnnIds(catIds=category['id'])))
    ap = {row[0]: row[1] for row in rows if row[0] in ('box', 'mask') and len(row) == 13}
    assert 0 < float(ap['box']) < float(ap['mask']) < 100  # masks are not shifted
    assert ['tested weights', 'epoch_2.pth'] in rows


def test_the_metrics_and_the_classes_are_also_in_files(page, shapes_coco):
    record = json.loads((page.parent / 'metrics.json').read_text())
    rows = Outline(page.read_text()).rows
    (box,) = [row for row in rows if row[0] == 'box' and len(row) == 13]
    assert f'{100 * record["metrics"]["box"]["mAP"]:.1f}' == box[1]
    assert (record['dataset'], record['images'], record['weights']) == ('shapes', 6, 'epoch_2.pth')
    assert f'score threshold of {record["score_threshold"]:.2f}' in page.read_text()
    classes = list(csv.DictReader((page.parent / 'metrics.csv').read_text().splitlines()))
    assert [row['name'] for row in classes] == [row['name'] for row in record['classes']]
    text = (page.parent / 'labels_to_look_at.csv').read_text()
    labels = list(csv.DictReader(text.splitlines()))
    assert labels and {row['image'] for row in labels} <= {f'{i:06d}.jpg' for i in range(99)}


def read_data(page, name):
    """Return the data of a gallery."""
    found = re.search(f'id="{name}-data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1])


def test_all_images_are_on_the_page_worst_first(page, shapes_coco):
    images = read_data(page, 'images')
    assert len(images) == len(list((shapes_coco / 'val').iterdir()))
    ranks = [image['rank'] for image in images]
    assert ranks == sorted(ranks)


def test_images_of_a_large_set_are_in_a_folder_and_old_ones_are_removed(
    detector, shapes_coco, tmp_path, monkeypatch
):
    monkeypatch.setattr(gallery, '_EMBEDDED', 5)
    monkeypatch.setattr(gallery, 'MAX_IMAGES', 4)
    monkeypatch.setattr(detection_page, 'MAX_IMAGES', 4)
    (tmp_path / 'report_images').mkdir()
    (tmp_path / 'report_images' / '00099.jpg').touch()
    page = write_report(detector, detector_results(shapes_coco), work_dir=tmp_path)
    images = read_data(page, 'images')
    files = {f'report_images/{path.name}' for path in (tmp_path / 'report_images').iterdir()}
    assert len(images) == 4 and {image['src'] for image in images} == files
    assert 'shows the 4 images with the lowest scores, of\n    6' in page.read_text()
    if BROWSER:
        assert show(page.read_text(), tmp_path, LOADED)['broken'] == 0


def test_a_perfect_detector_has_100_everywhere(detector, shapes_coco, tmp_path):
    write_report(detector, detector_results(shapes_coco, noise=0), work_dir=tmp_path)
    rows = Outline((tmp_path / 'report.html').read_text()).rows
    (box,) = [row for row in rows if row[0] == 'box' and len(row) == 13]
    assert box[1] == box[2] == '100.0'


def test_a_model_without_detections_has_a_report(detector, shapes_coco, tmp_path):
    results = detector_results(shapes_coco)
    for result in results:
        empty = {k: v[:0] for k, v in result['pred_instances'].items()}
        result.update(pred_instances=empty, img_path='gone.jpg')  # the images do not exist either
    write_report(detector, results, work_dir=tmp_path)
    text = (tmp_path / 'report.html').read_text()
    assert 'The model detected nothing' in text
    assert 'Images' not in Outline(text).headings


def test_untested_images_are_noted(detector, shapes_coco, tmp_path):
    write_report(detector, detector_results(shapes_coco)[:4], work_dir=tmp_path)
    assert (
        '2 of the 6 images in the annotation file were not tested'
        in (tmp_path / 'report.html').read_text()
    )


def test_a_detector_without_masks_has_no_mask_ap(detector, shapes_coco, tmp_path):
    results = detector_results(shapes_coco)
    for result in results:
        del result['pred_instances']['masks']
    write_report(detector, results, work_dir=tmp_path)
    assert 'mask AP' not in (tmp_path / 'report.html').read_text()


@pytest.fixture(scope='module')
def segmentor(shapes_ade, tmp_path_factory):
    path = tmp_path_factory.mktemp('segmentor') / 'ade.py'
    path.write_text(SEGMENTOR.replace('DATA_ROOT', str(shapes_ade)))
    return load_config(path)


def segmentor_results(root):
    """Return the label maps of the validation images, shifted."""
    results = []
    for path in sorted((root / 'annotations' / 'validation').glob('*.png')):
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        predicted = np.roll(truth, 3, axis=1)
        image = root / 'images' / 'validation' / f'{path.stem}.jpg'
        results.append(
            dict(
                img_path=str(image),
                gt_sem_seg=dict(data=truth[None]),
                pred_sem_seg=dict(data=predicted[None]),
            )
        )
    return results


@pytest.fixture(scope='module')
def segmentor_page(segmentor, shapes_ade, tmp_path_factory):
    folder = tmp_path_factory.mktemp('segmentation')
    return write_report(segmentor, segmentor_results(shapes_ade), work_dir=folder)


def test_a_segmentation_report_has_classes_confusions_and_label_maps(segmentor_page):
    outline = Outline(segmentor_page.read_text())
    assert outline.headings == [
        *('ade on shapes_ade', 'Accuracy', 'Classes', 'Class confusions', 'Images'),
        'Recipe and environment',
    ]
    iou = {row[0]: row[1] for row in outline.rows if len(row) == 5}
    assert {'background', 'circle', 'ring'} <= iou.keys()
    assert 90 < float(iou['background']) < 100
    assert all(address.startswith(('#', 'data:')) for address in outline.addresses)


WITHOUT_PACKAGE = """
import sys

class Blocker:
    def find_spec(self, name, *_):
        if name.split('.')[0] == '{package}':
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Blocker())
import convnext_mm.engine.hooks.report
from convnext_mm.evaluation.report.page import write_report
print(write_report('{config}', '{predictions}', work_dir='{work_dir}'))
"""


@pytest.mark.parametrize('task, package', [('detector', 'mmseg'), ('segmentor', 'mmdet')])
def test_a_report_needs_only_the_framework_of_its_model(task, package, request, tmp_path):
    data = request.getfixturevalue('shapes_coco' if task == 'detector' else 'shapes_ade')
    results = detector_results(data) if task == 'detector' else segmentor_results(data)
    (tmp_path / 'predictions.pkl').write_bytes(pickle.dumps(results))
    config = tmp_path / 'config.py'
    config.write_text(request.getfixturevalue(task).pretty_text)
    names = dict(config=config, predictions=tmp_path / 'predictions.pkl', work_dir=tmp_path)
    script = WITHOUT_PACKAGE.format(package=package, **names)
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.stdout.split() == [f'{tmp_path}/report.html'], done.stderr
    rows = Outline((tmp_path / 'report.html').read_text()).rows
    versions = {row[0] for row in rows if len(row) == 2}
    assert 'mmengine' in versions and package not in versions


def test_classes_without_pixels_are_noted(segmentor, shapes_ade, tmp_path):
    results = segmentor_results(shapes_ade)
    for result in results:
        result['gt_sem_seg']['data'][:] = 0
    write_report(segmentor, results, work_dir=tmp_path)
    note = 'Classes without pixels in the ground truth: 6 (circle, square, triangle and 3 more)'
    assert note in (tmp_path / 'report.html').read_text()


def test_the_background_is_not_painted_over_the_photo(segmentor_page, shapes_ade):
    images = {image['name']: image for image in read_data(segmentor_page, 'images')}
    name, image = min(images.items())
    truth = cv2.imread(
        str(shapes_ade / 'annotations' / 'validation' / name.replace('.jpg', '.png')), 0
    )
    png = base64.b64decode(image['maps'][0].partition(',')[2])
    drawn = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(drawn[..., 3] == 0, truth == 0) and (truth == 0).any()


LOADED = """
    addEventListener('load', async () => {
        const sources = [...document.querySelectorAll('#images-gallery image')].map((i) => i.href.baseVal);
        const loads = (src) => new Promise((done) => {
            const image = new Image();
            image.onload = () => done(true);
            image.onerror = () => done(false);
            image.src = src;
        });
        const broken = (await Promise.all(sources.map(loads))).filter((ok) => !ok).length;
        document.title = JSON.stringify({broken, shown: sources.length});
    });
"""  # noqa: E501
FILTERED = """
    addEventListener('load', () => {
        const figures = () => [...document.querySelectorAll('#images-gallery figure')];
        const names = () => figures().map((figure) => figure.querySelector('b').textContent);
        const choose = (select, value) => {
            select.value = value;
            select.dispatchEvent(new Event('change'));
        };
        const [label, kind, order] = document.querySelectorAll('#images-filters select');
        const seen = {all: names()};
        choose(order, 'best'); seen.best = names(); choose(order, 'worst');
        choose(label, '2'); seen.square = names();
        choose(label, ''); choose(kind, 'Miss'); seen.missed = names();
        seen.count = document.getElementById('images-count').textContent;
        choose(kind, '');
        const boxes = [...figures()[0].querySelector('svg svg').querySelectorAll('text')]
            .map((text) => text.getBBox());
        seen.overlaps = boxes.filter((a, i) => boxes.some((b, j) => i < j
            && a.x < b.x + b.width && b.x < a.x + a.width
            && a.y + 1 < b.y + b.height && b.y + 1 < a.y + a.height)).length;
        figures()[1].querySelector('button').click();
        const dialog = document.getElementById('enlarged');
        seen.enlarged = dialog.open && dialog.querySelector('b').textContent;
        dialog.click();
        seen.closed = !dialog.open;
        document.title = JSON.stringify(seen);
    });
"""


@pytest.mark.skipif(BROWSER is None, reason='needs Chromium')
def test_images_are_filtered_sorted_and_enlarged(page, tmp_path):
    images = read_data(page, 'images')
    seen = show(page.read_text(), tmp_path, FILTERED)
    names = [image['name'] for image in images]
    assert seen['all'] == names and sorted(seen['best']) == sorted(names) != seen['best']

    def those(wanted):
        return [i['name'] for i in images if any(wanted(s) for pane in i['panes'] for s in pane)]

    assert seen['square'] == those(lambda shape: shape[0] == 2) != names
    assert seen['missed'] == those(lambda shape: shape[1] == 'missed')
    number = len(seen['missed'])
    assert seen['count'] == f'{number} of {number} shown'
    assert seen['overlaps'] == 0
    assert (seen['enlarged'], seen['closed']) == (names[1], True)


@pytest.mark.skipif(BROWSER is None, reason='needs Chromium')
@pytest.mark.parametrize('which', ['page', 'segmentor_page'])
def test_a_browser_shows_the_page_without_a_request_and_its_tables_sort(which, request, tmp_path):
    source = request.getfixturevalue(which).read_text()
    script = """
        addEventListener('securitypolicyviolation', (e) => note('refused ' + e.blockedURI));
        addEventListener('error', (e) => note('error ' + e.message), true);
        function note(text) { (window.notes ??= []).push(text); }
        addEventListener('load', () => {
            for (const entry of performance.getEntriesByType('resource'))
                if (!entry.name.startsWith('data:')) note('requested ' + entry.name);
            const table = document.querySelector('table.sortable');
            const column = (i) => [...table.tBodies[0].rows].map((r) => r.cells[i].dataset.value);
            const click = (i) => table.tHead.rows[0].cells[i].firstElementChild.click();
            const orders = {notes: window.notes ?? []};
            click(1); orders.falling = column(1);
            click(1); orders.rising = column(1);
            click(0); orders.names = column(0);
            const wide = document.documentElement.scrollWidth - innerWidth;
            document.title = JSON.stringify({...orders, wide});
        });
    """
    seen = show(source, tmp_path, script)
    assert seen['notes'] == []
    assert seen['wide'] <= 0  # no horizontal scrolling
    falling = [float(value) for value in seen['falling']]
    assert falling == sorted(falling, reverse=True) and len(set(falling)) > 1
    assert seen['rising'] == sorted(seen['falling'], key=float)
    assert seen['names'] == sorted(seen['names'])


def show(source, folder, script):
    """Show a page in a browser, with a script that writes JSON into its title; return that."""
    # Before the policy, which allows no other script than the one of the page.
    head = '<head>\n'
    assert head in source
    source = source.replace(head, f'{head}<script>{script}</script>\n', 1)
    (folder / 'page.html').write_text(source)
    done = subprocess.run(
        [
            *(BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom'),
            *('--window-size=1200,900', '--enable-logging=stderr', f'--user-data-dir={folder}/u'),
            *('--virtual-time-budget=5000', f'file://{folder}/page.html'),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert [line for line in done.stderr.splitlines() if 'CONSOLE' in line] == []
    return json.loads(html.unescape(re.search('<title>(.*?)</title>', done.stdout)[1]))


def test_files_that_are_no_predictions_are_an_error(detector, tmp_path):
    with pytest.raises(UserError, match=r'convnext-mm test --out .*no.pkl writes it'):
        write_report(detector, tmp_path / 'no.pkl', work_dir=tmp_path)
    (tmp_path / 'weights.pkl').write_bytes(b'\x80\x04}.')  # an empty dict
    with pytest.raises(UserError, match='was not written by'):
        pickled.read(tmp_path / 'weights.pkl')
    (tmp_path / 'text.pkl').write_text('no pickle')
    with pytest.raises(UserError, match=r'text.pkl was not written by .*: UnpicklingError'):
        pickled.read(tmp_path / 'text.pkl')
    with pytest.raises(UserError, match='contain no detections'):
        write_report(detector, [dict(img_id=1)], work_dir=tmp_path)


def test_runs_are_compared_by_their_metrics_classes_curves_and_settings(
    page, detector, shapes_coco, tmp_path
):
    for name in ('first', 'second'):
        shutil.copytree(page.parent, tmp_path / 'runs' / name)
    better = detector_results(shapes_coco, noise=0.5)
    write_report(detector, better, work_dir=tmp_path / 'runs' / 'second', name='second.py')
    path = compare_runs([tmp_path / 'runs' / name for name in ('first', 'second')])
    assert path == tmp_path / 'runs' / 'comparison.html'
    rows = {row[0]: row[1:] for row in Outline(path.read_text()).rows}
    first, second, difference = map(float, rows['box AP'])
    assert first < second and difference == pytest.approx(second - first, abs=0.11)
    assert {'circle', 'ring', 'best F1', 'mask AP small'} <= rows.keys()
    assert rows['config'] == ['shapes.py', 'second.py']
    assert path.read_text().count('<svg') == 3 and 'different data' not in path.read_text()

    metrics = tmp_path / 'runs' / 'second' / 'metrics.json'
    record = json.loads(metrics.read_text())
    metrics.write_text(json.dumps(record | dict(images=7)))
    text = compare_runs([metrics.parent, tmp_path / 'runs' / 'first'], tmp_path).read_text()
    assert 'different data (second: 7 images, first: 6 images)' in text
    metrics.write_text('{}')
    with pytest.raises(UserError, match='no metrics of a report'):
        compare_runs([metrics.parent, tmp_path / 'runs' / 'first'])
    with pytest.raises(UserError, match='given twice'):
        compare_runs([page.parent, page.parent])
