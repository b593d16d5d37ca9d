"""Where a memory keeps what it has seen."""
