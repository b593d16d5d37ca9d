"""Task families and the table of their ids."""

from __future__ import annotations

if __name__ != "metarl.envs":
    raise ImportError(f"the environments are imported as metarl.envs, not {__name__!r}: import metarl.envs")

from typing import TYPE_CHECKING, Any

from metarl.envs.table import FAMILIES, register_all

if TYPE_CHECKING:
    from metarl.tasks.family.distribution import TaskDistribution

__all__ = ["FAMILIES", "distribution", "ids", "register_all"]


def ids() -> list[str]:
    """The registered environment ids, sorted."""
    return sorted(FAMILIES)


def distribution(id: str, **options: Any) -> TaskDistribution:
    """The task distribution behind an environment id.

    Args:
        id: one of :func:`ids`.
        options: of the family, ``split`` and ``reveal`` among them.

    Raises:
        ValueError: an unknown id or option, or a bad value.
    """
    from metarl.config import choice
    from metarl.tasks.trial.env import build

    return build(FAMILIES[choice(id, ids(), "id")], options)
