"""The site of `make docs`: it builds without a warning, loads nothing from other hosts, and its search finds terms."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.site import drawings
from docs.site.settings import SERVICES, describe
from tests.fixtures.home import ROOT

pytestmark = pytest.mark.timeout(300)
REQUESTED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
"""Elements with a resource that a browser loads with the page."""


class _Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.requests += [values.get(REQUESTED[tag]) or ""] if tag in REQUESTED else []
        self.links += [values.get("href") or ""] if tag == "a" else []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(out / "cache")]
    done = subprocess.run([*command, "docs", str(out / "html")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_site_requests_nothing_from_other_hosts(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        external = [url for url in _Page(path).requests if re.match(r"(https?:)?//", url)]
        assert not external, f"{path.name} requests {external}"
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text()), path.name


@pytest.mark.parametrize(
    ("section", "answer"),
    [
        ("explanation/update.html#who-may-do-what", "admits users and services"),
        ("explanation/programs.html#turns", "is skipped"),
        ("explanation/call.html#where-a-session-is-fenced", "KvSessionStore.claim"),
        ("explanation/programs.html#what-stops-a-loop", "SIGKILL"),
        ("explanation/twins.html#where-the-delta-is-computed", "In the registry"),
    ],
)
def test_start_page_links_to_the_answer(site: Path, section: str, answer: str) -> None:
    assert section in _Page(site / "index.html").links
    page, _, anchor = section.partition("#")
    assert answer in (site / page).read_text().partition(f'id="{anchor}"')[2].partition("</section>")[0]


def test_drawings_are_current() -> None:
    stale = [path.name for path, text in drawings.drawings().items() if not path.exists() or path.read_text() != text]
    assert not stale, f"run `make drawings`: {stale}"


@pytest.mark.parametrize("term", ["startrollout", "quarantin", "ygg_bridge_heartbeat_m", "twin", "einherjar"])
def test_search_index_finds_terms(site: Path, term: str) -> None:
    text = (site / "searchindex.js").read_text()
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    assert term in {**index["terms"], **index["titleterms"]}


def test_reference_of_rpcs_names_the_callers(site: Path) -> None:
    assert "Callers: users only" in (site / "reference/rpc/registry.html").read_text()
    relay = (site / "reference/rpc/ota.html").read_text().partition('id="relayservice-report"')[2]
    assert "jotunheim_bridge" in relay.partition("</section>")[0]


def test_every_setting_is_described() -> None:
    missing = [f"{s}.{f}" for s, kind in SERVICES.items() for f in kind.model_fields if not describe(kind, f)]
    assert not missing
