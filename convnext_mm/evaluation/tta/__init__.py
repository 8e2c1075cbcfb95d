"""Test-time augmentation: of instance segmentation (MMDetection), of semantic (MMSegmentation)."""
