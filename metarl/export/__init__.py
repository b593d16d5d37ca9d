"""A trained agent as one step function in a file, for programs without this package."""
