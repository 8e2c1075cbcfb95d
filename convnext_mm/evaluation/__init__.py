"""What a run shows of itself: progress, metrics table, curves, pictures."""
