"""Omniglot (Lake et al. 2015): 1623 characters of 50 alphabets, each drawn by 20 people."""

from metarl.data.omniglot.archives import OmniglotError, download, found
from metarl.data.omniglot.characters import SCHEMES, Scheme, shared_alphabets, split_characters
from metarl.data.omniglot.source import Omniglot, describe

__all__ = [
    "SCHEMES",
    "Omniglot",
    "OmniglotError",
    "Scheme",
    "describe",
    "download",
    "found",
    "shared_alphabets",
    "split_characters",
]
