"""From a config to a running training or test."""
