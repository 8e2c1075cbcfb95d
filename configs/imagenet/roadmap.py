# Any step of the roadmap from ResNet to ConvNeXt on ImageNet-1k, 300 epochs. Table 5 of the paper.
#   STEP=patchify_stem tools/train.py configs/imagenet/roadmap.py
#   STEP=patchify_stem TRACK=resnet200 tools/train.py configs/imagenet/roadmap.py
# The stochastic depth of the second track is not in the paper. Here it is 0.5, as in ConvNeXt-B.
_base_ = '../_base_/imagenet_300e.py'

step = '{{$STEP:resnet}}'
track = '{{$TRACK:resnet50}}'
roadmap = __import__('convnext_mm.roadmap', fromlist=['ROADMAP'])
channels = roadmap.stage_channels(roadmap.resolve_settings(step, track))[-1]
work_dir = f'work_dirs/imagenet_{track}_{step}'

published = dict(top1=roadmap.ROADMAP[track][step].published.top1)

model = dict(
    backbone=dict(
        type='convnext_mm.Roadmap',
        step=step,
        track=track,
        drop_path_rate=dict(resnet50=0.1, resnet200=0.5)[track],
    ),
    # Only the last step has the norm.
    neck=dict(in_channels=channels)
    if step == roadmap.STEPS[-1]
    else dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=channels),
)
custom_hooks = []  # no moving average: it harms models with BatchNorm
