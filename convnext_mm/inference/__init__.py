"""Predict on images and videos.

::

    paths -> sources: frames -> predictor: data samples -> result_files: JSON, label maps
                                                        -> drawn_files: JPEG, MP4
    images in Python         -> predictor: predictions, as arrays and as a picture
"""

from convnext_mm.inference.predict_files import PredictionSummary, predict
from convnext_mm.inference.predictions import Detections, Segmentation
from convnext_mm.inference.predictor import Predictor, load
from convnext_mm.inference.sources import Frame

__all__ = [
    'Detections',
    'Frame',
    'PredictionSummary',
    'Predictor',
    'Segmentation',
    'load',
    'predict',
]
