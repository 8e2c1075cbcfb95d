"""The built-in data set: rendered scenes of six shapes, in the layout of COCO or ADE20K.

python -m convnext_mm.datasets.shapes data/shapes --layout coco --train 1000 --val 200
"""

from convnext_mm.datasets.shapes.write import write_ade, write_coco

__all__ = ['write_ade', 'write_coco']
