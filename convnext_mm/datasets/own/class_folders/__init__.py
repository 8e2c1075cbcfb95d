"""A folder of images for each class, to train a classifier on."""
