"""Families of tasks: distributions, ranges, splits, and any Gymnasium environment as a family."""
