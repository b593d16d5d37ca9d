"""Pictures and tables from a run folder alone."""
