"""tools/model_stats.py as a user calls it."""

import json
import re
import runpy
import sys

import pytest

from tests.conftest import ROOT, run_tool

CASCADE = 'configs/cascade/convnext_t_coco.py'


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Run the tool in this process, which is faster, with output and errors apart."""

    def run(*arguments):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, 'argv', ['model_stats.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as finished:
            runpy.run_path(str(ROOT / 'tools' / 'model_stats.py'), run_name='__main__')
        return finished.value.code, *capsys.readouterr()

    return run


def test_the_table_shows_each_part_the_total_and_the_rule():
    done = run_tool('model_stats.py', CASCADE)
    assert done.code == 0, done.output
    assert f'{CASCADE} at 1280x800 (width x height)' in done.output
    rows = dict(re.findall(r'│ ([\w.]+) +│ +([\d.]+M │ +[\d.]+G) │', done.output))
    assert list(rows) == [
        'backbone',
        'neck',
        'rpn_head',
        'roi_head.bbox_head',
        'roi_head.mask_head',
        'total',
    ]
    assert rows['total'] == '85.9M │ 740.2G'
    said = ' '.join(done.output.split())
    assert '1000 proposals in each box head and 100 RoIs in each mask head' in said


def test_flops_that_are_not_counted_are_a_dash_and_a_note(run_here, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("_base_ = 'mmdet::solo/solo_r50_fpn_1x_coco.py'")
    code, output, _ = run_here(config)
    assert code == 0
    assert re.search(r'│ mask_head +│ +9\.4M │ +- │', output)
    assert re.search(r'│ total +│ +36\.3M │ +- │', output)
    assert 'FLOPs of mask_head are not counted, so there is no total' in ' '.join(output.split())


def test_with_json_the_standard_output_is_json_only(run_here, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        f"""
_base_ = '{ROOT}/configs/upernet/convnext_t_ade20k.py'
print('printed while the config is read')
"""
    )
    code, output, errors = run_here(config, '--json', '--shape', 512, 256)
    assert code == 0 and 'printed while' in errors
    found = json.loads(output)
    assert set(found) == {'config', 'shape', 'parts', 'total', 'notes', 'rule'}
    assert found['shape'] == [512, 256] and found['config'] == str(config)
    assert set(found['parts']) == {'backbone', 'decode_head', 'auxiliary_head'}
    assert found['total']['params'] == sum(part['params'] for part in found['parts'].values())
    assert found['total']['flops'] == sum(part['flops'] for part in found['parts'].values())
    assert 'multiply-adds' in found['rule'] and found['notes'] == []


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['no/such/config.py'], 'error: no/such/config.py: no such file\n'),
        ([CASCADE, '--shape', 0, 800], 'error: the shape 0x800 is too small'),
        ([CASCADE, '--shape', -1280, 800], 'error: the shape -1280x800 is too small'),
        ([CASCADE, '--shape', 1280], 'expected 2 arguments'),
        ([CASCADE, '--shape', 'a', 'b'], "invalid int value: 'a'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_clear_line(run_here, arguments, message):
    code, output, errors = run_here(*arguments)
    assert (code, output) == (2, '')
    assert message in errors and 'Traceback' not in errors
