"""The built-in data set: rendered scenes of six shapes, in three layouts: COCO, ADE20K, ImageNet.

python -m convnext_mm.datasets.shapes data/shapes --layout coco --train 1000 --val 200
"""

from convnext_mm.datasets.shapes.write import write_ade, write_classes, write_coco

__all__ = ['write_ade', 'write_classes', 'write_coco']
