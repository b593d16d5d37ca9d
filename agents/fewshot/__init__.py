"""Few-shot learners: supervised learning from a few examples, with the same memories as the agents."""
