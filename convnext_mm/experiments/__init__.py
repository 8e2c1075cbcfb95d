"""Many trainings under one recipe, and their comparison."""
