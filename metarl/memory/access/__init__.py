"""How a store is read."""
