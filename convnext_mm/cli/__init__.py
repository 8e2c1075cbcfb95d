"""The commands: read arguments, call one function of the package, return an exit code."""
