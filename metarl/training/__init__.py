"""Functions of an agent, an optimiser and batches; they know no environment, baseline or algorithm class."""
