"""The results of a test in files: COCO results JSON, label maps as PNGs, MMDetection's pickles.

Reading any of them runs no code.
"""
