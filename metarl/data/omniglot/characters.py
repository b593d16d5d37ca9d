"""The fixed splits of Omniglot, from text files in the package."""

from __future__ import annotations

from importlib import resources
from typing import Literal, get_args

from metarl.config import choice
from metarl.types import SPLITS, Split

Scheme = Literal["standard", "lake", "lake_small1", "lake_small2"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
MINIMAL = {
    "lake_small1": ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"),
    "lake_small2": ("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"),
}
"""The alphabets of ``images_background_small1`` and ``images_background_small2``, the data set's own minimal sets."""


def split_characters(scheme: Scheme, split: Split) -> list[str]:
    """The characters of a split as ``ALPHABET/characterNN``; the first lines of each file give its source.

    ``standard`` has 1028, 172 and 423 characters (Vinyals et al. 2016), ``lake`` whole alphabets: 25, 5 and 20. The
    ``lake_small`` schemes have the validation and test alphabets of ``lake``, but only those of a minimal set to train
    on; one that is in the set is no validation alphabet there.

    Raises:
        ConfigError: there is no such scheme or split.
    """
    choice(scheme, SCHEMES, "scheme")
    choice(split, SPLITS, "split")
    minimal = MINIMAL.get(scheme)
    if minimal is None:
        return _listed(scheme, split)
    if split == "test":
        return _listed("lake", split)
    background = [*_listed("lake", "train"), *_listed("lake", "validation")]
    listed = sorted(background) if split == "train" else _listed("lake", split)
    return [name for name in listed if (name.partition("/")[0] in minimal) is (split == "train")]


def _listed(scheme: str, split: Split) -> list[str]:
    path = resources.files("metarl.data.omniglot").joinpath("splits", f"{scheme}_{split}.txt")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def shared_alphabets(scheme: Scheme) -> list[str]:
    """Alphabets with characters in more than one split: Gurmukhi of ``standard``, none of the others."""
    alphabets = [{name.partition("/")[0] for name in split_characters(scheme, split)} for split in SPLITS]
    return sorted(name for name in set().union(*alphabets) if sum(name in some for some in alphabets) > 1)
