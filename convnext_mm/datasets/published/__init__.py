"""COCO and ADE20K: what belongs to them, what is missing, and how to get it."""
