"""What a run shows: the table, the curves' data."""

import json

import pytest
from rich.console import Console

from convnext_mm.evaluation.table import headline, metrics_table
from convnext_mm.evaluation.training_log import read_scalars


def text(table):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_box_and_mask_ap_stand_in_cocos_columns_and_minus_one_is_a_dash():
    names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
    metrics = {f'coco/bbox_{n}': v for n, v in zip(names, (0.5, 0.7, 0.6, 0.4, 0.5, -1.0))}
    metrics |= {f'coco/segm_{n}': v for n, v in zip(names, (0.4, 0.6, 0.5, 0.3, 0.4, 0.45))}
    lines = text(metrics_table(metrics, 'shapes: 8.0 minutes')).splitlines()
    assert lines[0].strip() == 'shapes: 8.0 minutes'
    assert lines[2].split('┃')[2:-1] and 'AP small' in lines[2]
    box = next(line for line in lines if 'box' in line)
    assert [cell.strip() for cell in box.split('│')[2:-1]] == [
        *('0.500', '0.700', '0.600', '0.400', '0.500', '-')
    ]


@pytest.mark.parametrize(
    'metrics, line',
    [
        ({'coco/bbox_mAP': 0.5, 'coco/segm_mAP': 0.4, 'time': 1.0}, 'box AP 0.500, mask AP 0.400'),
        ({'coco/bbox_mAP': 0.5}, 'box AP 0.500'),
        ({'mIoU': 46.0, 'aAcc': 80.0}, 'mIoU 46.000'),
        ({'PQ': 0.3}, 'PQ 0.300'),
        ({}, 'no metrics'),
    ],
)
def test_a_run_is_summed_up_in_a_line(metrics, line):
    assert headline(metrics) == line


def test_other_metrics_are_listed_by_name():
    output = text(metrics_table(dict(aAcc=91.234, mIoU=46.0), 'ade'))
    assert 'mIoU' in output and '46.00' in output and '91.23' in output


def log(work_dir, time, records, end=''):
    folder = work_dir / time / 'vis_data'
    folder.mkdir(parents=True)
    lines = '\n'.join(json.dumps(record) for record in records)
    (folder / 'scalars.json').write_text(lines + end)


def test_an_evaluation_is_placed_at_the_iteration_it_happened_at(tmp_path):
    records = [
        dict(loss=2.0, base_lr=0.1, iter=10, step=10, epoch=1),
        dict(loss=1.0, base_lr=0.2, iter=20, step=20, epoch=1),
        {'coco/bbox_mAP': 0.3, 'step': 1},
        dict(loss=0.5, base_lr=0.1, iter=30, step=30, epoch=2),
        {'coco/bbox_mAP': 0.4, 'step': 2},
    ]
    log(tmp_path, '20260101_000000', records)
    scalars = read_scalars(tmp_path)
    assert scalars['coco/bbox_mAP'] == [(20, 0.3), (30, 0.4)]
    assert scalars['loss'] == [(10, 2.0), (20, 1.0), (30, 0.5)]


def test_a_resumed_training_has_its_beginning_too(tmp_path):
    def training(steps):
        return [dict(loss=1.0, base_lr=0.1, iter=i, step=i) for i in steps]

    # Killed at 40, resumed from 20, where it had been evaluated, and tested.
    first = [*training((10, 20)), {'coco/bbox_mAP': 0.3, 'step': 1}, *training((30, 40))]
    log(tmp_path, '20260101_000000', first, end='\n{"loss": 1.')
    log(tmp_path, '20260102_000000', [*training((30, 40)), {'coco/bbox_mAP': 0.4, 'step': 2}])
    log(tmp_path, '20260103_000000', [{'coco/bbox_mAP': 0.4, 'step': 0}])
    scalars = read_scalars(tmp_path)
    assert [step for step, _ in scalars['loss']] == [10, 20, 30, 40]
    assert scalars['coco/bbox_mAP'] == [(20, 0.3), (40, 0.4)]
    log(tmp_path, '20260104_000000', training((10,)))  # from the beginning again
    assert [step for step, _ in read_scalars(tmp_path)['loss']] == [10]
    with pytest.raises(FileNotFoundError, match='has no vis_data'):
        read_scalars(tmp_path / 'elsewhere')
