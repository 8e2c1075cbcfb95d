"""A user gets a report from test.py, and from report.py with the predictions of a test."""

import json
import re

from convnext_mm.config.reading import load_config
from convnext_mm.evaluation.coco_ap import read_annotations
from convnext_mm.evaluation.report.page import write_report
from tests.conftest import run_tool
from tests.evaluation.pycocotools_scores import evaluate_by_pycocotools


def test_report_py_reproduces_the_report_of_test_py_from_its_predictions(
    small_detector, shapes_coco, tmp_path
):
    image = next((shapes_coco / 'val').iterdir())
    config = tmp_path / 'config.py'
    config.write_text(
        small_detector + 'train_cfg = dict(max_epochs=1)\n'
        # After four iterations no score reaches the recipe's 0.05.
        'model = dict(test_cfg=dict(rcnn=dict(score_thr=0.0)))\n'
        # The same test also writes MMDetection's pickle.
        f"pickle = dict(type='mmdet.DumpDetResults', out_file_path='{tmp_path}/found.pkl')\n"
        'test_evaluator = [_base_.test_evaluator | test_evaluator, pickle]\n'
    )
    work = tmp_path / 'work'
    done = run_tool('train.py', config, '--work-dir', work)
    assert done.code == 0, done.output
    done = run_tool('test.py', config, work / 'epoch_1.pth', '--work-dir', work, '--report')
    assert done.code == 0, done.output
    assert f'written: {work}/report.html' in done.output
    page = (work / 'report.html').read_text()
    for part in (
        '<h2>Training</h2>',
        'epoch_1.pth',
        '<h1>config <span>on shapes',
        'box AP',
    ):
        assert part in page

    # Predictions use the threshold of the report.
    record = json.loads((work / 'metrics.json').read_text())
    done = run_tool('predict.py', config, work / 'epoch_1.pth', image, '--out', tmp_path / 'found')
    assert done.code == 0, done.output
    threshold = f'{record["score_threshold"]:.3g}'
    assert (
        f'with a score from {threshold} (the best F1 of this checkpoint on shapes)' in done.output
    )
    done = run_tool(
        *('predict.py', config, work / 'epoch_1.pth', image, '--out', tmp_path / 'found'),
        *('--score-thr', '0.6', '--no-pictures'),
    )
    assert '0 objects with a score from 0.6, written' in done.output

    results = work / 'predictions.json'
    elsewhere = tmp_path / 'elsewhere'
    done = run_tool('report.py', results, config, '--work-dir', elsewhere)
    assert done.code == 0, done.output
    again = (elsewhere / 'report.html').read_text()
    write_report(config, tmp_path / 'found.pkl', work_dir=tmp_path)
    of_pickle = (tmp_path / 'report.html').read_text()
    figures = slice(page.index('<section id="accuracy">'), page.index('<section id="objects">'))
    assert page[figures] in again and page[figures] in of_pickle
    assert '<h2>Training</h2>' not in again  # this folder has no log of a training

    # Other tools find the AP that the test printed.
    api = read_annotations(load_config(config).val_evaluator.ann_file)
    log = max(work.glob('*/*.log')).read_text()
    printed = re.findall(r'coco/bbox_mAP\w*: (-?[\d.]+)', log)[-6:]
    ap = evaluate_by_pycocotools(api, str(results), 'bbox').stats[:6]
    assert [float(value) for value in printed] == ap.round(3).tolist()


def test_a_missing_file_is_a_one_line_error(tmp_path):
    done = run_tool('report.py', tmp_path / 'no.pkl', 'configs/cascade/convnext_atto_shapes.py')
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'no such file; tools/test.py --out' in done.output
