"""Look at an installation, a config or a weights file before a training."""
