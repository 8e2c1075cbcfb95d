"""All hooks: what MMEngine calls in the course of a training or test."""
