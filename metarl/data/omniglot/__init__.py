"""Omniglot (Lake et al. 2015): 1623 characters of 50 alphabets, each drawn by 20 people."""

from metarl.data.omniglot.archives import OmniglotError, download, found
from metarl.data.omniglot.characters import MINIMAL, SCHEMES, Scheme, shared_alphabets, split_characters
from metarl.data.omniglot.runs import PublishedRuns, published_runs
from metarl.data.omniglot.source import Omniglot, describe

__all__ = [
    "MINIMAL",
    "SCHEMES",
    "Omniglot",
    "OmniglotError",
    "PublishedRuns",
    "Scheme",
    "describe",
    "download",
    "found",
    "published_runs",
    "shared_alphabets",
    "split_characters",
]
