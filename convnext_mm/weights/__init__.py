"""Published weights: recognise a file's format, load it, prove what was loaded."""
