"""`python -m celeriac`: the command line."""

from __future__ import annotations

from celeriac.cli import main

if __name__ == "__main__":
    main()
