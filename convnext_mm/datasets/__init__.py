"""Data sets: own data of a user, published ones (COCO, ADE20K), and the built-in shapes."""
