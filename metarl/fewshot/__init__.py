"""Few-shot runs: what they are made from, their training and their evaluation."""
