"""The documents' code blocks, run in order on a clean home.

The mesh is `ygg up`, the devices are real agents. A block below `<!-- not run … -->` is skipped; the comment says why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.board import AGENT
from tests.fixtures.documents import DOCUMENTS, block, blocks, files
from tests.fixtures.home import ROOT
from tests.fixtures.newcomer import Newcomer

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not AGENT.exists(), reason="the posix agent is not built: make agent"),
]
CODES = {"period_ms=9000": 5, "ygg device why": 1}
EXPECTED = {
    "led0.blink times=3 period_ms=9000": "period_ms is 9000, the contract allows 50 to 5000 ms",
    "grpcurl $(ygg grpcurl) localhost:50052 list": "yggdrasil.jotunheim.v1.BridgeService",
    "describe yggdrasil.jotunheim.v1.BridgeService.Invoke": "yggdrasil.jotunheim.v1.BridgeService.Invoke is a method",
    "BridgeService/Invoke": "result",
    "ygg device ls -l": "porch-1",
    "ygg device show porch-1": "blink(times 1…20, period_ms 50…5000 ms)",
    "ygg device read porch-1": "°C",
    "ygg twin get porch-1": "led0.brightness",
    "ygg device token": "ygg1.",
    "ygg script new sweep": "sweep.lua",
    "ygg script run examples/blink.lua": "led0 on → off → on",
    "ygg script run hall/warm.lua": "true",
    "ygg script test hall": "2",
    "Scripts.Script_warm": "Report whether a room is warm.",
    "ygg ota keygen root.key": "home/keys/root.key",
    "ygg ota release 1.release": "sim@1.1.0",
}


def follow(newcomer: Newcomer, document: str) -> None:
    for line in blocks(document):
        code = next((code for words, code in CODES.items() if words in line), 0)
        newcomer.follow(line, code, [expected for words, expected in EXPECTED.items() if words in line])


def devices_file(folder: Path) -> None:
    (folder / "devices.ndjson").write_text('"cellar-1"\n{"id": "cellar-2", "labels": {"zone": "cellar"}}\n')


def firmware(folder: Path) -> None:
    (folder / "fw.bin").write_bytes(bytes(range(256)) * 64)
    (folder / "password").write_text("correct horse battery staple\n")


def registered_script(folder: Path) -> None:
    (folder / "blink.lua").write_text(block("docs/reference/scripting.md", "lua register"))


FIRST_DEVICE = "docs/tutorial/first-device.md"
FOLLOWED = (
    "README.md",
    "docs/guides/operations.md",
    "docs/guides/programs.md",
    "docs/guides/updates.md",
    "docs/reference/scripting.md",
    FIRST_DEVICE,
    "docs/tutorial/program.md",
    "docs/tutorial/script.md",
    "docs/tutorial/update.md",
    "firmware/README.md",
)
PRESUPPOSED: dict[str, Callable[[Path], None]] = {
    "docs/guides/operations.md": devices_file,
    "docs/guides/updates.md": firmware,
    "docs/reference/scripting.md": registered_script,
}
"""The reader's files that a document mentions."""


@pytest.mark.parametrize("document", FOLLOWED)
def test_document_works_when_followed(request: pytest.FixtureRequest, document: str) -> None:
    newcomer = request.getfixturevalue("deviceless_newcomer" if document == FIRST_DEVICE else "newcomer")
    if document in PRESUPPOSED:
        PRESUPPOSED[document](newcomer.folder)
    for name, text in files(document).items():
        (newcomer.folder / name).parent.mkdir(exist_ok=True)
        (newcomer.folder / name).write_text(text)
    assert len(blocks(document)) > 3
    follow(newcomer, document)


def test_every_document_with_commands_is_followed() -> None:
    found = {path.relative_to(ROOT).as_posix() for pattern in DOCUMENTS for path in ROOT.glob(pattern)}
    assert {name for name in found if blocks(name)} == set(FOLLOWED)
