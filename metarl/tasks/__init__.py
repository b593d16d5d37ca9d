"""Task distributions, and the trials that are played with them."""
