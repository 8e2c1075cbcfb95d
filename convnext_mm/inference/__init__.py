"""Predict on pictures and films of one's own: what ``tools/predict.py`` does.

::

    paths -> sources: frames -> predictor: samples -> results: pictures, JSON, label maps
"""

from convnext_mm.inference.predictor import Predictor
from convnext_mm.inference.sources import Frame

__all__ = ['Frame', 'Predictor']
