"""Data samples for images that no pipeline has prepared."""

from __future__ import annotations

from mmengine.structures import BaseDataElement


def empty_sample(scope: str, height: int, width: int) -> BaseDataElement:
    """Return a data sample without annotations, for an image that is neither resized nor padded.

    Args:
        scope: ``mmdet`` or ``mmseg``, the library of the model.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    if scope == 'mmseg':
        from mmseg.structures import SegDataSample as DataSample
    else:
        from mmdet.structures import DetDataSample as DataSample
    size = (height, width)
    return DataSample(
        metainfo=dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
        )
    )
