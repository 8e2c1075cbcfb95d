"""Read a config, walk through it, build its model, rescale its schedule."""
