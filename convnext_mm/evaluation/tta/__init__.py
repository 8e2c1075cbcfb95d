"""Test-time augmentation for instance segmentation and for semantic segmentation."""
