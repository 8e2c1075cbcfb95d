"""Annotations in other formats than COCO: one reader each, and their conversion to COCO."""
