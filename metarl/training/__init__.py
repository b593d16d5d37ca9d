"""Training: functions of a policy, an optimiser and a rollout, and supervised training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
