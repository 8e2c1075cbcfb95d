"""How a run is scored, and what it shows of itself: progress, table, curves, pictures, report."""
