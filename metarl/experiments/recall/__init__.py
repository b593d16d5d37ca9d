"""Recall: memories on sequence tasks, one at a time or many side by side."""
