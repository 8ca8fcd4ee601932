"""Configuration of Sphinx, for `make docs`."""

import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "gen")]

from docs.site import pages  # noqa: E402 - docs/ is on no path of Sphinx

project, author, copyright = "Yggdrasil", "the authors of Yggdrasil", "the authors of Yggdrasil"  # noqa: A001
extensions = ["myst_parser"]
exclude_patterns = ["site"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
# Blocks that Pygments cannot read as their language are shown plain: a REPL session, a fragment of JSON.
suppress_warnings = ["misc.highlighting_failure"]
html_theme, html_title = "furo", "Yggdrasil"
html_copy_source, html_show_sphinx = False, False
html_use_index = False


def _read(app: Any, name: str, source: list[str]) -> None:
    source[0] = pages.prepare(Path(str(app.env.doc2path(name))), source[0])


def _outdated(_app: Any, env: Any, *_: Any) -> list[str]:
    return [name for name in env.found_docs if pages.generated(Path(str(env.doc2path(name))).read_text())]


def setup(app: Any) -> None:
    """Prepare each page when it is read; read pages with generated parts at every build."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)
