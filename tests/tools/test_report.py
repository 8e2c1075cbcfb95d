"""The report as a user asks for it: with a test, and from the predictions that a test wrote."""

from tests.conftest import run_tool


def test_a_test_writes_a_report_and_its_predictions_make_the_same_one_again(
    small_detector, tmp_path
):
    config = tmp_path / 'config.py'
    config.write_text(
        small_detector + 'train_cfg = dict(max_epochs=1)\n'
        # After four iterations no score reaches the recipe's 0.05.
        'model = dict(test_cfg=dict(rcnn=dict(score_thr=0.0)))\n'
    )
    work = tmp_path / 'work'
    done = run_tool('train.py', config, '--work-dir', work)
    assert done.code == 0, done.output
    done = run_tool('test.py', config, work / 'epoch_1.pth', '--work-dir', work, '--report')
    assert done.code == 0, done.output
    assert f'written: {work}/report.html' in done.output
    page = (work / 'report.html').read_text()
    for part in ('<h2>Training</h2>', 'epoch_1.pth', '<h1>config</h1>', 'box AP'):
        assert part in page

    elsewhere = tmp_path / 'elsewhere'
    done = run_tool('report.py', work / 'predictions.pkl', config, '--work-dir', elsewhere)
    assert done.code == 0, done.output
    again = (elsewhere / 'report.html').read_text()
    table = slice(page.index('<section id="accuracy">'), page.index('<section id="curves">'))
    assert page[table] in again
    assert '<h2>Training</h2>' not in again  # no training logged there


def test_results_that_are_not_there_are_one_clear_line(tmp_path):
    done = run_tool('report.py', tmp_path / 'no.pkl', 'configs/cascade/convnext_atto_shapes.py')
    assert (done.code, 'Traceback' in done.output) == (2, False)
    assert 'no such file; tools/test.py --out' in done.output
