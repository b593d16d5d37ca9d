"""A trained agent as one step function in a file, or a few-shot learner as one function, for other programs."""
