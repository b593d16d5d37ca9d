"""What a trained model does on held-out tasks, as arrays and as numbers."""
