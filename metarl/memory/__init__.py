"""Stores, accesses, controllers and the cores that join them: the part that agents and few-shot learners share."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
