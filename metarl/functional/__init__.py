"""Pure functions, most of them of tensors, each with its equation and its source; loaded when first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
