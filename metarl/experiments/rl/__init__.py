"""RL² agents: what a run is made from, its training and its evaluation."""
