"""The tools on real images: a few steps of the real recipes, and of the small one."""

import re

import pytest
import torch

from tests.conftest import ROOT, run_tool

SHARED = ROOT.parent / 'shared' / 'data'

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason='the real images are not there: ../shared/data'
)

AP = r'coco/bbox_mAP: (0\.\d+).*coco/segm_mAP: (0\.\d+)'
MIOU = r'mIoU: (\d+\.\d+)'

# The recipe with another data root and schedule, no download, and images a CPU can bear.
COCO_MINI = """
_base_ = '{root}/configs/{config}'
data_root = '{data}/'
model = dict(
    backbone=dict(init_cfg=None),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=20)),
    # Two iterations give no score above the recipe's 0.05, and no detection is no AP.
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=20), rcnn=dict(score_thr=0.0, max_per_img=20)
    ),
)
small = dict(type='Resize', scale=(256, 256), keep_ratio=True)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        indices=4,
        pipeline=[
            dict(
                _base_.fast_pipeline,
                transforms=[*_base_.train_pipeline[:-1], small, _base_.train_pipeline[-1]],
            )
        ],
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        indices=4,
        pipeline=[_base_.test_pipeline[0], small, *_base_.test_pipeline[2:]],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.mark.parametrize('config', ['mask_rcnn/convnext_t_coco.py', 'cascade/convnext_t_coco.py'])
def test_a_coco_recipe_trains_and_evaluates_on_coco_photos(config, tmp_path):
    path = tmp_path / 'config.py'
    data = SHARED / 'coco_mini'
    path.write_text(COCO_MINI.format(root=ROOT, config=config, data=data))
    done = run_tool('train.py', path, '--work-dir', tmp_path / 'work', '--verbose')
    assert done.code == 0, done.output
    losses = [float(v) for v in re.findall(r' loss: ([\d.]+|nan)', done.output)]
    assert len(losses) == 2 and all(0 < v < 100 for v in losses)
    trained = re.findall(AP, done.output)
    weights = tmp_path / 'work' / 'epoch_1.pth'
    checkpoint = torch.load(weights, weights_only=True)
    # Ids 0 to 7 of layer-wise decay, each with and without weight decay.
    assert len(checkpoint['optimizer']['param_groups']) == 16
    done = run_tool('test.py', path, weights, '--work-dir', tmp_path / 'work', '--verbose')
    assert done.code == 0, done.output
    assert re.findall(AP, done.output) == trained and len(trained) == 1


# The same for segmentation: small crops and views, few iterations.
SCENES = """
_base_ = '{root}/configs/{config}'
data_root = '{data}'
crop_size = (64, 64)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(init_cfg=None),
    test_cfg=dict(crop_size=crop_size, stride=(42, 42)),
)
small = dict(type='Resize', scale=(256, 64), keep_ratio=True)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(
                _base_.fast_pipeline,
                transforms=[
                    *_base_.train_pipeline[:2],
                    dict(_base_.train_pipeline[2], scale=(256, 64)),
                    dict(_base_.train_pipeline[3], crop_size=crop_size),
                    *_base_.train_pipeline[4:],
                ],
            )
        ],
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        indices=4,
        pipeline=[_base_.test_pipeline[0], small, *_base_.test_pipeline[2:]],
    ),
)
test_dataloader = val_dataloader
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(small, scale=(scale, scale // 4)) for scale in (192, 256)],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=4))
"""


def test_an_ade20k_recipe_trains_and_evaluates_on_photos_of_scenes(tmp_path):
    path = tmp_path / 'config.py'
    config = 'upernet/convnext_t_ade20k.py'
    data = SHARED / 'scenes_ade_layout'
    path.write_text(SCENES.format(root=ROOT, config=config, data=data))
    work = tmp_path / 'work'
    trained = run_tool('train.py', path, '--work-dir', work, '--verbose')
    assert trained.code == 0, trained.output
    losses = [float(v) for v in re.findall(r' loss: ([\d.]+|nan)', trained.output)]
    assert len(losses) == 4 and all(0 < v < 100 for v in losses)
    checkpoint = torch.load(work / 'iter_4.pth', weights_only=True)
    # Ids 0 to 4 of stage-wise decay and the heads', each with and without weight decay.
    assert len(checkpoint['optimizer']['param_groups']) == 12
    assert len(re.findall(MIOU, trained.output)) == 1

    done = run_tool('test.py', path, work / 'iter_4.pth', '--work-dir', work, '--tta', '--verbose')
    assert done.code == 0, done.output
    assert len(re.findall(MIOU, done.output)) == 1


def test_the_small_recipe_learns_on_micrographs(tmp_path):
    data = SHARED / 'nuclei'
    done = run_tool(
        'train.py',
        *('configs/cascade/convnext_atto_nuclei.py', '--work-dir', tmp_path, '--cfg-options'),
        f'train_dataloader.dataset.dataset.data_root={data}/',
        'train_dataloader.dataset.dataset.indices=16',
        f'val_dataloader.dataset.data_root={data}/',
        'val_dataloader.dataset.indices=4',
        f'val_evaluator.ann_file={data}/annotations/instances_val.json',
        *('train_cfg.max_epochs=1', 'train_cfg.val_interval=1'),
        'default_hooks.logger.interval=5',
    )
    assert done.code == 0, done.output
    log = next(tmp_path.glob('*/vis_data/scalars.json')).read_text()
    # The whole loss rises at first, with the number of boxes there are to regress.
    losses = [float(v) for v in re.findall(r'"s0.loss_cls": ([\d.]+)', log)]
    assert losses[-1] < 0.8 * losses[0]
    assert (tmp_path / 'predictions.png').exists()
