"""Draw objects and label maps on images, and arrange images on contact sheets."""
