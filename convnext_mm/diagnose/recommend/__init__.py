"""Recommend a recipe for a data set and a machine: ``tools/recommend.py PATH``."""
