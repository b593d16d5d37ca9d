"""Memory-based meta-learning: RL² agents with episodic memory, trained across task distributions.

The public names are listed in ``__init__.pyi`` and imported when first used, so that ``import metarl`` costs no more
than registering the environment ids.
"""

import lazy_loader

from metarl.envs.table import register_all

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_all()
