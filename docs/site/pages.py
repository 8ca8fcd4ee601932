"""Prepares pages while Sphinx reads them: embeds generated parts and whole files, and resolves links that leave docs/.

A page embeds with a comment of its own line: `<!-- embed: rpcs PACKAGE -->`, `<!-- embed: commands -->`,
`<!-- embed: settings -->` or `<!-- embed: PATH -->` with a Markdown file of the repository. The site has no page for
other files of the repository: links to them become their paths.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from docs.site import ROOT, commands, rpcs, settings

DOCS = PurePosixPath("docs")
EMBEDDED = {
    "CHANGELOG.md": "docs/changes.md",
    "bench/README.md": "docs/reference/benchmarks.md",
    "deploy/README.md": "docs/guides/containers.md",
    "firmware/README.md": "docs/guides/firmware.md",
    "docs/adr": "docs/adr/README.md",
}
"""Files of the repository that are pages of the site, and folders that have one."""
_EMBED = re.compile(r"^<!-- embed: (\w\S*)(?: (\S+))? -->$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def prepare(path: Path, text: str) -> str:
    """Return the text of the page at `path` as Sphinx reads it."""
    page = PurePosixPath(path.relative_to(ROOT))

    def embed(found: re.Match[str]) -> str:
        kind, argument = found.groups()
        if kind == "rpcs":
            return rpcs.page(argument)
        if kind == "commands":
            return commands.page()
        if kind == "settings":
            return settings.page()
        whole = (ROOT / kind).read_text()
        return _links(whole[whole.index("\n") :], PurePosixPath(kind), page)

    text = _links(text, page, page)
    return _EMBED.sub(embed, text)


def generated(text: str) -> bool:
    """Return whether the page depends on other files than its own."""
    return _EMBED.search(text) is not None


def _links(text: str, source: PurePosixPath, page: PurePosixPath) -> str:
    def link(found: re.Match[str]) -> str:
        label, target, anchor = found.groups()
        path = PurePosixPath(os.path.normpath(source.parent / target))
        if not (ROOT / path).exists():
            return found[0]  # Sphinx reports it
        path = PurePosixPath(EMBEDDED.get(str(path), path))
        if path.is_relative_to(DOCS) and path.suffix == ".md":
            return f"[{label}]({os.path.relpath(path, page.parent)}{anchor or ''})"
        return f"`{path}`" if label.strip("`") in (str(path), target, path.name) else f"{label} (`{path}`)"

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)
