"""Few-shot learners: what a run is made from, its training and its evaluation."""
