"""``python -m metarl``."""

from metarl.cli.main import main

raise SystemExit(main())
