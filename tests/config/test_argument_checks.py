"""The check of all names in a config: no false alarm on real configs, and mistakes are found."""

from pathlib import Path

import mmdet
import mmseg
import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from convnext_mm.config.argument_checks import check_arguments
from convnext_mm.config.key_checks import check_names, check_options, check_variables
from convnext_mm.config.reading import load_checked_config, load_config
from convnext_mm.config.signatures import arguments_of
from convnext_mm.errors import UserError
from tests.conftest import ROOT

CASCADE = 'configs/cascade/convnext_t_coco.py'
UPERNET = 'configs/upernet/convnext_t_ade20k.py'
MMDET = Path(mmdet.__file__).parent / '.mim' / 'configs'
MMSEG = Path(mmseg.__file__).parent / '.mim' / 'configs'

# Some of each kind; benchmarks/config_checks.py checks all.
CONFIGS = [
    *(
        MMDET / name
        for name in (
            'albu_example/mask-rcnn_r50_fpn_albu-1x_coco.py',  # dicts of another library
            'dcn/mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',  # a key that the backbone takes out
            'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py',  # an NMS outside of test_cfg
            'detectors/detectors_htc-r101_20e_coco.py',  # arguments of a base of the same name
            'detr/detr_r50_8xb2-150e_coco.py',
            'dino/dino-4scale_r50_8xb2-12e_coco.py',
            'fpg/mask-rcnn_r50_fpg_crop640-50e_coco.py',  # types that are no classes
            'grounding_dino/grounding_dino_swin-t_finetune_16xb2_1x_coco.py',
            'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
            'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
            'queryinst/queryinst_r50_fpn_1x_coco.py',  # a key that the head takes out
            'rtmdet/rtmdet-ins_s_8xb32-300e_coco.py',  # hooks that change pipelines
            'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
            'ssd/ssd300_coco.py',
            'vfnet/vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco.py',  # super() of another class
            'yolox/yolox_s_8xb8-300e_coco.py',
        )
    ),
    *(
        MMSEG / name
        for name in (
            'beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py',  # layer decay
            'dnlnet/dnl_r50-d8_4xb2-40k_cityscapes-512x1024.py',
            'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
            'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py',
            'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
            'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        )
    ),
    *(
        ROOT / 'configs' / name
        for name in (
            'cascade/convnext_atto_nuclei.py',
            'cascade/convnext_xl_in22k_coco.py',
            'mask_rcnn/convnext_v2_b_coco.py',
            'upernet/convnext_b_ade20k.py',
        )
    ),
]


@pytest.fixture(scope='module')
def recipes():
    return {name: load_config(ROOT / name) for name in (CASCADE, UPERNET)}


def found(cfg, **options):
    """Return the findings about a config with some settings changed, each as one text."""
    changed = load_config(cfg, {key.replace('__', '.'): value for key, value in options.items()})
    findings = [*check_names(changed), *check_arguments(changed)]
    return [f'{finding.where}: {finding.text}' for finding in findings]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_that_works_has_no_findings(path):
    assert found(Config.fromfile(path)) == []


@pytest.mark.parametrize(
    'recipe, key, text',
    [
        (CASCADE, 'model.backbone.drop_path', "no argument 'drop_path' (here 1); did you mean dr"),
        (CASCADE, 'model.neck.typ', "no argument 'typ'"),
        (CASCADE, 'model.roi_head.bbox_head.1.num_clases', 'did you mean num_classes?'),
        (CASCADE, 'model.train_cfg.rpn_proposal.nms_prr', 'did you mean nms_pre?'),
        (CASCADE, 'model.test_cfg.rcnn.nms.iou_treshold', 'did you mean iou_threshold?'),
        (CASCADE, 'model.data_preprocessor.pad_size_divisr', 'did you mean pad_size_divisor?'),
        (CASCADE, 'train_dataloader.num_worker', 'did you mean num_workers?'),
        (CASCADE, 'train_dataloader.sampler.shufle', 'did you mean shuffle?'),
        (CASCADE, 'train_dataloader.dataset.ann_fil', 'did you mean ann_file?'),
        (CASCADE, 'train_dataloader.dataset.metainfo.clases', 'did you mean classes?'),
        (CASCADE, 'train_dataloader.dataset.filter_cfg.min_sise', 'did you mean min_size?'),
        (CASCADE, 'val_dataloader.dataset.pipeline.1.keep_rato', 'did you mean keep_ratio?'),
        (CASCADE, 'train_cfg.max_epoch', 'did you mean max_epochs?'),
        (CASCADE, 'val_cfg.fp_16', 'did you mean fp16?'),
        (CASCADE, 'optim_wrapper.clip_grads', 'did you mean clip_grad?'),
        (CASCADE, 'optim_wrapper.optimizer.wight_decay', 'did you mean weight_decay?'),
        (CASCADE, 'optim_wrapper.paramwise_cfg.decay_rat', 'did you mean decay_rate?'),
        (CASCADE, 'param_scheduler.0.start_facto', 'did you mean start_factor?'),
        (CASCADE, 'default_hooks.checkpoint.max_keep_ckpt', 'did you mean max_keep_ckpts?'),
        (CASCADE, 'default_hooks.logger.intervall', 'did you mean interval?'),
        (CASCADE, 'val_evaluator.clas_wise', 'did you mean classwise?'),
        (CASCADE, 'env_cfg.mp_cfg.mp_start_metod', 'did you mean mp_start_method?'),
        (CASCADE, 'auto_scale_lr.base_batch_siz', 'did you mean base_batch_size?'),
        (CASCADE, 'randomness.sed', 'did you mean seed?'),
        (UPERNET, 'model.decode_head.in_chanels', 'did you mean in_channels?'),
        (UPERNET, 'model.test_cfg.crop_sise', 'did you mean crop_size?'),
        (UPERNET, 'train_cfg.max_iter', 'did you mean max_iters?'),
    ],
)
def test_an_argument_that_nothing_takes_is_refused_with_the_nearest_one(recipes, recipe, key, text):
    (line,) = found(recipes[recipe], **{key: 1})
    assert line.startswith(f'{key}: ') and text in line


@pytest.mark.parametrize(
    'key, value, text',
    [
        ('model.neck.type', 'FPNN', "'FPNN' is not in the registry mmdet::model or mmdet::task"),
        ('model.neck.type', 'FPNN', 'did you mean FPN?'),
        ('model.neck.type', 'mmdet.FPNN', 'did you mean mmdet.FPN?'),
        ('model.neck.type', 'mmdett.FPN', 'there is no package mmdett; did you mean mmdet.FPN?'),
        ('model.backbone.type', 'convnext_mm.ConvNext', 'did you mean convnext_mm.ConvNeXt?'),
        ('train_dataloader.dataset.type', 'CocoDatset', 'did you mean CocoDataset?'),
        ('val_dataloader.dataset.pipeline.1.type', 'Resise', 'did you mean Resize?'),
        ('optim_wrapper.optimizer.type', 'AdamWW', 'did you mean AdamW?'),
        ('optim_wrapper.constructor', 'LayerDecayOptimWrapperConstrutor', 'did you mean LayerDec'),
        ('model.test_cfg.rcnn.nms.type', 'soft_nmss', 'did you mean soft_nms?'),
        ('default_hooks.timer.type', 'IterTimeHook', 'did you mean IterTimerHook?'),
        ('param_scheduler.0.type', 'LinearRL', 'did you mean LinearLR?'),
    ],
)
def test_a_type_that_no_registry_knows_is_refused_with_the_nearest_one(recipes, key, value, text):
    (line,) = found(recipes[CASCADE], **{key: value})
    assert text in line


def test_all_mistakes_are_reported_at_once(recipes):
    options = {'model.neck.type': 'FPNN', 'train_cfg.max_epoch': 3}
    with pytest.raises(UserError) as raised:
        load_checked_config(recipes[CASCADE], options)
    lines = str(raised.value).splitlines()
    assert [line.partition(':')[0] for line in lines] == ['model.neck.type', 'train_cfg.max_epoch']


def test_only_the_parts_that_are_used_are_checked(recipes):
    options = {'train_cfg.max_epoch': 3}
    cfg = load_checked_config(recipes[CASCADE], options, parts=['model', 'test_dataloader'])
    assert cfg.train_cfg.max_epoch == 3


def test_a_dict_without_a_type_or_without_a_required_argument_is_refused(recipes):
    (line,) = found(recipes[CASCADE], default_hooks__chekpoint={'interval': 1})[1:]
    assert line == "default_hooks.chekpoint: there is no type in {'interval': 1}"
    cfg = load_config(recipes[CASCADE])
    cfg.val_dataloader.dataset.pipeline = [dict(type='RandomCrop')]
    assert found(cfg) == [
        'val_dataloader.dataset.pipeline.0: RandomCrop needs 1 argument: crop_size'
    ]


def test_an_option_that_is_no_setting_is_refused_with_the_nearest_one(recipes):
    cfg = recipes[CASCADE]
    for key, meant in (
        ('train_dataloder.batch_size', 'train_dataloader.batch_size'),
        ('modell.neck.type', 'model.neck.type'),
        ('resum', 'resume'),
    ):
        (finding,) = check_options(cfg, {key: 1})
        assert finding.where == key and f'did you mean {meant}?' in finding.text
    assert not [*check_options(cfg, {'sync_bn': 'torch', 'randomness.seed': 1})]


def test_a_misspelt_setting_in_a_config_is_refused_and_a_variable_is_not(recipes):
    cfg = load_config(recipes[CASCADE])
    cfg.train_dataloder, cfg.max_epoch, cfg.val_evaluator_2 = {}, 12, {}
    assert found(cfg) == [
        "train_dataloder: there is no setting 'train_dataloder': did you mean train_dataloader?"
    ]


def test_an_option_that_sets_a_variable_is_a_note(recipes):
    cfg = load_config(recipes[CASCADE])
    cfg.image_size = 3
    (finding,) = check_variables({'image_size': 4, 'model.neck.num_outs': 5})
    assert finding.where == 'image_size' and 'the option changes nothing' in finding.text


# --- the arguments of a class --------------------------------------------------------------


class Base:
    def __init__(self, a, b=1):
        pass


class PassesOn(Base):
    def __init__(self, c, **kwargs):
        self.d = kwargs.pop('d', None)
        super().__init__(**kwargs)


class Keeps(Base):
    def __init__(self, c, **kwargs):
        self.kwargs = kwargs
        super().__init__(**kwargs)


class Without(PassesOn):
    pass


class Skips(PassesOn):
    def __init__(self, e, **kwargs):
        super(PassesOn, self).__init__(**kwargs)


def test_the_arguments_of_a_class_are_those_of_its_bases_where_it_passes_them_on():
    taken = arguments_of(Without)
    assert (taken.names, taken.required, taken.any) == (('c', 'd', 'a', 'b'), ('c',), False)
    assert arguments_of(Keeps).any
    assert arguments_of(Skips).names == ('e', 'a', 'b')


def test_a_class_of_the_user_is_checked_too(recipes):
    @TRANSFORMS.register_module(force=True)
    class Brighten:
        def __init__(self, factor=1.0):
            pass

    cfg = load_config(recipes[CASCADE])
    cfg.val_dataloader.dataset.pipeline = [dict(type='Brighten', facto=2)]
    (line,) = found(cfg)
    assert 'did you mean factor?' in line
    TRANSFORMS.module_dict.pop('Brighten')
