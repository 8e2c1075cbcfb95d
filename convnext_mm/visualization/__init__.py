"""Draw objects and label maps on pictures."""
