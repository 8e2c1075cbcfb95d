"""The loader: a training pipeline that reads and resizes each image once.

In a config, ``FastPipeline`` goes around the transforms of MMDetection or MMSegmentation::

    pipeline = [dict(type='convnext_mm.datasets.loader.FastPipeline', transforms=train_pipeline)]
"""

from convnext_mm.datasets.loader.pipeline import FastPipeline

__all__ = ['FastPipeline']
