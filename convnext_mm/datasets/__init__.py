"""Data sets: the built-in shapes, and a user's own COCO-format data turned into a config."""
