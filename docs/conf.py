"""Sphinx: `make docs` builds docs/ into build/docs; warnings are errors."""

from __future__ import annotations

import tomllib
from pathlib import Path

_project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

project = "Celeriac"
author = "the Celeriac developers"
copyright = "2026, the Celeriac developers"  # noqa: A001 - Sphinx's name
release = version = _project["version"]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["adr/0000-template.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Celeriac {release}"
html_show_sphinx = False
