"""The classes that a learner meets before it is tested, by the names that its run keeps."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from metarl.config import ConfigError, build
from metarl.experiments.fewshot.build import class_names
from metarl.experiments.fewshot.options import DataOptions
from metarl.types import Split

MET: tuple[Split, ...] = ("train", "validation")  # the splits whose classes a learner meets before it is tested
SHOWN = 10  # classes that an error names
Names = Mapping[Split, tuple[str, ...]]
"""Of the classes of each split of :data:`MET` that has names."""


@dataclass(frozen=True)
class _Kept:
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()


def read_met(data: Any, where: str) -> Names:
    """The names that a checkpoint holds.

    Args:
        data: what is there.
        where: it comes from, named first in an error.

    Raises:
        ConfigError: something else is there.
    """
    kept = vars(build(_Kept, data, where))
    return {split: kept[split] for split in MET if kept[split]}


def met_in(data: DataOptions) -> Names:
    """The names of the classes that training on these data meets.

    Raises:
        ConfigError: as :func:`~metarl.experiments.fewshot.build.class_names`.
    """
    named = {split: class_names(data, split) for split in MET}
    if data.trainval:
        named = {"train": named["train"] + named["validation"], "validation": ()}
    return {split: names for split, names in named.items() if names}


def check_as_begun(begun: Names, now: Names, data: DataOptions) -> None:
    """Refuse to go on with a training whose classes have changed, since a class of a test may have been trained on.

    Args:
        begun: the classes when it began.
        now: the classes there are now.
        data: where they come from.

    Raises:
        ConfigError: a split has other classes.
    """
    for split in MET:
        before, after = set(begun.get(split, ())), set(now.get(split, ()))
        if before != after:
            gone, come = (some or "none" for some in (_shown(before - after), _shown(after - before)))
            problem = f"the {split} split has other classes than when this training began: gone: {gone}; new: {come}"
            remedy = "restore the folder as it was, or train anew"
            raise ConfigError(problem, key="data.folder", given=data.folder, remedy=remedy)


def check_as_trained(own: Any, now: Any, names: Collection[str]) -> None:
    """Refuse settings of a test that would change how its learner was made or trained, since nothing reads them.

    Args:
        own: the experiment of the run.
        now: the same with other settings.
        names: of its fields that made the learner.

    Raises:
        ConfigError: one of them differs, or whether validation classes were trained on.
    """
    asked = [(name, getattr(own, name), getattr(now, name)) for name in names]
    for name, was, given in (*asked, ("data.trainval", own.data.trainval, now.data.trainval)):
        if was != given:
            expected = "as the run was trained; only its tests and the place of its data can be changed"
            raise ConfigError(f"{name} is not that of the run", key=name, expected=expected)


def check_unseen(met: Names, data: DataOptions, split: Split) -> None:
    """Refuse a test of classes that the learner has met, as where the folder has changed since; warn where it may be.

    Args:
        met: the classes that the learner has met.
        data: of the test.
        split: that is tested.

    Raises:
        ConfigError: a class of the split was trained on or chosen by.
    """
    now = {unicodedata.normalize("NFC", name) for name in (class_names(data, split) if met else ())}
    for before in MET:
        if before == split:
            continue
        known = {unicodedata.normalize("NFC", name) for name in met.get(before, ())}
        if again := now & known:
            problem = f"{len(again)} classes of the {split} split were in the {before} split when this was trained"
            remedy = "restore the folder as it was, or give one with folders train, validation and test"
            raise ConfigError(f"{problem}: {_shown(again)}", key="data.folder", given=data.folder, remedy=remedy)
        if alike := {one for one in now if any(_ends_alike(one, other) for other in known)}:
            problem = f"{len(alike)} classes of the {split} split are called as some of the {before} split were"
            cause = "where these are the same images, they are no test, since the learner has met them"
            warnings.warn(f"{problem}, in another folder: {_shown(alike)}; {cause}", stacklevel=2)


def _ends_alike(one: str, other: str) -> bool:
    """Whether one of two names of folders is the end of the other, as if the folder above had been given."""
    return one.endswith(f"/{other}") or other.endswith(f"/{one}")


def _shown(names: Collection[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(sorted(names)[:SHOWN]) + more
