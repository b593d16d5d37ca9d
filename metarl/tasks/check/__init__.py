"""Whether an environment keeps the rules of a trial."""
