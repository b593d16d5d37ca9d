"""Tuned settings as data."""
