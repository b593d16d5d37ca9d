"""``make results``: make the generated parts of the pages of a folder anew from its ``results/*.json``."""

from __future__ import annotations

import sys

from results.pages import write_markdown

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m results DOCS_FOLDER")
    try:
        print(f"wrote {write_markdown(sys.argv[1])}")
    except (ValueError, OSError) as error:
        sys.exit(str(error))
