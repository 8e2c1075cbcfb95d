# The authors' UperNet on ADE20K in crops of 640x640, tested in sliding windows of that size.
# Source: facebookresearch/ConvNeXt, semantic_segmentation/configs/convnext/upernet_*_640_*_ss.py.
_base_ = ['./upernet_160k.py', 'mmseg::_base_/datasets/ade20k_640x640.py']

crop_size = (640, 640)
model = dict(
    data_preprocessor=dict(size=crop_size),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(426, 426)),
)
# The same samples in half of the time: only the crop is resized (docs/loader.md).
# The authors' loader itself: --cfg-options train_dataloader.dataset.pipeline.0.fast=False
fast_pipeline = dict(
    type='convnext_mm.datasets.loader.FastPipeline', transforms=_base_.train_pipeline
)
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=[fast_pipeline]))

# For --tta: the authors scale relative to the size of the single-scale test. MMSegmentation scales
# relative to the size of the image file.
tta_pipeline = [
    _base_.tta_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(int(2560 * ratio), int(640 * ratio)), keep_ratio=True)
                for ratio in _base_.img_ratios
            ],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
