"""Stores, accesses, controllers and the cores that join them: the object both tracks share."""
