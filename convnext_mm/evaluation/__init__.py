"""Compute metrics, use test-time augmentation, and write the report of a test or training."""
