"""Trials: several episodes of one task, as one environment."""
