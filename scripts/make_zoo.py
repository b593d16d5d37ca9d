"""An entry of the zoo from a finished run: ``python scripts/make_zoo.py RUN NAME``, in ``metarl/zoo/NAME``.

Keeps what is needed to use the model, rounds its weights to half precision where that changes no figure by more than
its standard error, measures it again on the tasks of the run's own evaluation, and writes the card.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from metarl.config import InputError
from metarl.runs.entries import ZOO
from metarl.zoo.card import card_text, folder_size
from metarl.zoo.make import make_entry

MOST = 2_500_000  # bytes of an entry


def main() -> None:
    """Make the entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder, finished")
    parser.add_argument("name", help="of the entry")
    parser.add_argument("--limits", default="", help="further sentences on the limits of the model")
    parser.add_argument("--zoo", type=Path, default=ZOO, help="where entries are (default: the package's)")
    args = parser.parse_args()
    folder = args.zoo / args.name
    try:
        make_entry(args.run, folder, limits=args.limits)
    except (InputError, FileExistsError) as error:
        parser.error(str(error))
    if (size := folder_size(folder)) > MOST:
        shutil.rmtree(folder)
        parser.error(f"{args.name} has {size:,} bytes, expected at most {MOST:,}: train a smaller model")
    print(card_text(folder))


if __name__ == "__main__":
    main()
