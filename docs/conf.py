"""Configure the documentation site. `make docs` builds it, and `make lint` fails on any warning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "NovaProxy"
language = "en"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]

# Headings get the same anchors as on GitHub, so that links to them work in both places and are checked here.
myst_heading_anchors = 3
nitpicky = True
# Show `--no-dry-run` and quotes as they are written and as GitHub shows them.
smartquotes = False
# Indented blocks are shell commands or output; Sphinx would try to colour them as Python.
highlight_language = "text"

html_theme = "furo"
html_title = "NovaProxy"
html_favicon = "../novaproxy_site/static/novaproxy_site/icon.svg"
html_show_copyright = False
# The site shows no page source, so it need not contain a copy of each page.
html_copy_source = False

# A Markdown link that leaves docs/, such as [licence](../LICENSE).
_OUTSIDE = re.compile(r"\]\((\.\./[^)#\s]+)(?:#[^)\s]*)?\)")


def offer_repository_files(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links to files outside docs/ into downloads, because the site has no page for them.

    On GitHub the same relative links open the file. A link to a file that does not exist stays as it is,
    and MyST warns about it.
    """
    folder = (Path(app.srcdir) / docname).parent

    def as_download(link: re.Match[str]) -> str:
        return f"](path:{link[1]})" if (folder / link[1]).is_file() else link[0]

    source[0] = _OUTSIDE.sub(as_download, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the hook; Sphinx may read and write pages in parallel."""
    app.connect("source-read", offer_repository_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
