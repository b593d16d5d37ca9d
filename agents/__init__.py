"""Complete learners, and the hand-written baselines that they are compared with."""

if __name__ != "metarl.agents":
    raise ImportError(f"the learners are imported as metarl.agents, not {__name__!r}: import metarl.agents")

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
