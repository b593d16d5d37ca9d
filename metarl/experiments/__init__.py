"""Experiments: everything between a preset and its report, the same way for every kind."""
