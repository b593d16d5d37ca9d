"""What the package is used for, each with its preset, its script and its page."""

from __future__ import annotations

from typing import NamedTuple


class Application(NamedTuple):
    """A use of a memory that has learned to learn.

    Args:
        name: of the use.
        about: what the example does, in a line.
        preset: what trains it.
        run: the command that makes its results.
        page: of the documentation.
    """

    name: str
    about: str
    preset: str
    run: str
    page: str


APPLICATIONS = (
    Application(
        "few-shot learning",
        "name the class of an image, given one or a few images of each class",
        "prototypical",
        "python scripts/reproduce/omniglot.py",
        "docs/use-a-trained-learner.md",
    ),
    Application(
        "continual learning",
        "600 unseen characters, each shown once and one after the other, by a memory of bounded size",
        "continual",
        "python scripts/applications/continual.py",
        "docs/continual.md",
    ),
    Application(
        "domain adaptation",
        "a learner of upright characters on turned, noisy and inverted ones, and on digits",
        "domain",
        "python scripts/applications/domain.py",
        "docs/domain.md",
    ),
    Application(
        "reinforcement learning",
        "a bandit whose contexts come back, and carts and poles of unknown physics",
        "barcode",
        "python scripts/reproduce/barcode.py --part barcode",
        "docs/applications.md",
    ),
    Application(
        "diagnosis",
        "tell the sick from the healthy by 1, 5 or 10 patients of each, for a disease that training never met",
        "diagnosis",
        "python scripts/applications/diagnosis.py",
        "docs/diagnosis.md",
    ),
)
