"""Searches for settings: many trainings, chosen between on validation tasks, shared by any number of processes."""
