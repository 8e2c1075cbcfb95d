"""Inspect an installation, a config, its data and its weights."""
