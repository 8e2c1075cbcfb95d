"""Predict on images and videos.

::

    paths -> sources: frames -> predictor: data samples -> result_files: JSON, label maps
                                                        -> drawn_files: JPEG, MP4
"""

from convnext_mm.inference.predict_files import PredictionSummary, predict
from convnext_mm.inference.predictor import Predictor
from convnext_mm.inference.sources import Frame

__all__ = ['Frame', 'PredictionSummary', 'Predictor', 'predict']
