"""The fixed splits of Omniglot, from text files in the package."""

from __future__ import annotations

from importlib import resources
from typing import Literal, get_args

from metarl.config import choice
from metarl.types import SPLITS, Split

Scheme = Literal["standard", "lake"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


def split_characters(scheme: Scheme, split: Split) -> list[str]:
    """The characters of a split as ``ALPHABET/characterNN``; the first lines of each file give its source.

    ``standard`` has 1028, 172 and 423 characters (Vinyals et al. 2016), ``lake`` whole alphabets: 25, 5 and 20.

    Raises:
        ConfigError: there is no such scheme or split.
    """
    name = f"{choice(scheme, SCHEMES, 'scheme')}_{choice(split, SPLITS, 'split')}.txt"
    lines = resources.files("metarl.data.omniglot").joinpath("splits", name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def shared_alphabets(scheme: Scheme) -> list[str]:
    """Alphabets with characters in more than one split: Gurmukhi of ``standard``, none of ``lake``."""
    alphabets = [{name.partition("/")[0] for name in split_characters(scheme, split)} for split in SPLITS]
    return sorted(name for name in set().union(*alphabets) if sum(name in some for some in alphabets) > 1)
