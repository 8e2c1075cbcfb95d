"""Hooks, which MMEngine calls in the course of a training or test."""
