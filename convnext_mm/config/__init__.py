"""Read a config, build its model, rescale its schedule, check both."""
