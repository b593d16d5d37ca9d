"""Benchmarks of memories: what is measured, of whom, and how many cells of it side by side."""
