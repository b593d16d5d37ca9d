"""Measured results: rows in ``docs/results/NAME.json``, and the pages of ``docs`` that show them."""
