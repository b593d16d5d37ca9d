"""Neural networks around a memory: encoders, heads, policies and sequence classifiers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
