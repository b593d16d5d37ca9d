"""What a run leaves behind, and where its numbers go."""
