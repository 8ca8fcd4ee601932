"""The documents as a newcomer follows them: their code blocks, run in order on a clean home.

The mesh is `ygg up`, the devices are real agents. A block below `<!-- not run … -->` is left out, and says why there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.board import AGENT
from tests.fixtures.documents import DOCUMENTS, block, blocks
from tests.fixtures.home import ROOT, Home
from tests.fixtures.wait import until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not AGENT.exists(), reason="the posix agent is not built: make agent"),
]
FOLLOWERS = re.compile(r"ygg-agent|ygg device watch|ygg program logs -f|ygg program dev|ygg ota rollout watch")
"""What runs until it is stopped; it has worked once it has said something."""
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
    "ygg ota keygen root.key": "home/keys/root.key",
    "ygg ota release 1.release": "sim@1.1.0",
}


class Newcomer(Home):
    """Somebody in a clean folder with a clean home, a mesh of `ygg up` and two devices."""

    def __init__(self, path: Path) -> None:
        super().__init__(path / "home")
        self.path.mkdir()
        self.folder = path / "checkout"
        self.folder.mkdir()
        for name in ("examples", "firmware", "build"):
            (self.folder / name).symlink_to(ROOT / name)
        commands = path / "bin"
        commands.mkdir()
        (commands / "ygg").write_text(f'#!/bin/sh\nexec {sys.executable} -m ygg "$@"\n')
        (commands / "ygg").chmod(0o755)
        (commands / "ygg-agent").symlink_to(AGENT)
        search = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment |= {"PATH": search, "TMPDIR": str(path), "YGG_CA_PASSPHRASE": "correct horse battery"}
        self.environment |= {"COLUMNS": "200"}
        self.running: list[subprocess.Popen[bytes]] = []
        self.tokens: dict[str, str] = {}

    def follow(self, line: str) -> None:
        """Run one line of a document; raise AssertionError with what it said if it fails."""
        text = self._here(line)
        if FOLLOWERS.search(line):
            self._start(text)
            if agent := re.search(r"ygg1\.([a-z0-9-]+)\.… ygg-agent", line):
                self.online(agent[1])
            return
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        code = next((code for words, code in CODES.items() if words in line), 0)
        assert done.returncode == code, f"exit code {done.returncode}\n$ {text}\n{said}"
        for words, expected in EXPECTED.items():
            assert words not in line or expected in said, f"$ {text}\n{said}\nlacks {expected}"
        for token in re.findall(r"ygg1\.([a-z0-9-]+)\.\S+", said):
            self.tokens[token] = re.search(rf"ygg1\.{token}\.\S+", said)[0]  # type: ignore[index]

    def _here(self, line: str) -> str:
        """The line with this mesh's ports, the token that was printed, and what is asked for."""
        ports = self.state()["ports"]
        named = {"50051": "registry", "50052": "jotunheim_bridge", "50053": "loki", "50054": "ota", "7443": "link"}
        for number, name in named.items():
            line = re.sub(rf"(HOST|localhost|127\.0\.0\.1):{number}", f"127.0.0.1:{ports[name]}", line)
        line = re.sub(r"ygg1\.([a-z0-9-]+)\.…", lambda found: self.tokens[found[1]], line)
        line = re.sub(r"--password(?= )", "--password-file password", line)
        line = re.sub(r"(ygg ota sign .*)", r"\1 --password-file password", line)
        asks = re.match(r"ygg device (revoke|retire|rm)|ygg ota root set", line)
        return f"{line.rstrip()} --yes" if asks and "--yes" not in line else line

    def _start(self, text: str) -> None:
        log = self.folder / f"{len(self.running)}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"exec env {text}"], cwd=self.folder, env=self.environment, stdout=stream, stderr=stream
            )
        self.running.append(process)
        until(lambda: log.stat().st_size or process.poll() is not None, within_s=60, what=f"{text} says something")
        assert process.poll() is None, f"$ {text}\n{log.read_text()}"

    def device(self, name: str) -> None:
        """Start a device that is online afterwards."""
        assert self.ygg("pki", "issue", "device", name).returncode == 0
        identity = self.path / "mesh" / "identities" / "device" / name
        self._start(f"ygg-agent --id {name} --identity {identity} --connect 127.0.0.1:{self.state()['ports']['link']}")
        self.online(name)

    def online(self, name: str) -> None:
        """Wait for it."""
        until(lambda: name in self.ygg("device", "ls", "--online").stdout, within_s=60, what=f"{name} online")

    def stop(self) -> None:
        """End all that was started."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(30)
        self.ygg("down")


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    found = Newcomer(tmp_path)
    started = found.ygg("up", "-d", "--free-ports")
    assert started.returncode == 0, started.stderr
    try:
        found.device("porch-1")
        found.device("porch-2")
        yield found
    finally:
        found.stop()


def devices_file(folder: Path) -> None:
    (folder / "devices.ndjson").write_text('"cellar-1"\n{"id": "cellar-2", "labels": {"zone": "cellar"}}\n')


def firmware(folder: Path) -> None:
    (folder / "fw.bin").write_bytes(bytes(range(256)) * 64)
    (folder / "password").write_text("correct horse battery staple\n")


def registered_script(folder: Path) -> None:
    (folder / "blink.lua").write_text(block("docs/SCRIPTING.md", "lua register"))


PRESUPPOSED: dict[str, Callable[[Path], None]] = {
    "docs/OPERATIONS.md": devices_file,
    "docs/OTA.md": firmware,
    "docs/PROGRAMS.md": lambda _: None,
    "docs/SCRIPTING.md": registered_script,
    "firmware/README.md": lambda _: None,
}
"""The files that a document speaks of as the reader's own."""


def test_readme_does_what_it_says_when_followed(newcomer: Newcomer) -> None:
    lines = blocks("README.md", after="## Devices")
    assert len(lines) > 30
    for line in blocks("README.md", before="## Devices"):
        newcomer.follow(line)
    for line in lines:
        newcomer.follow(line)


@pytest.mark.parametrize("document", PRESUPPOSED)
def test_document_does_what_it_says_when_followed(newcomer: Newcomer, document: str) -> None:
    PRESUPPOSED[document](newcomer.folder)
    lines = blocks(document)
    assert len(lines) > 3
    for line in lines:
        newcomer.follow(line)


def test_every_document_with_commands_is_followed() -> None:
    found = {path.relative_to(ROOT).as_posix() for pattern in DOCUMENTS for path in ROOT.glob(pattern)}
    assert {name for name in found if blocks(name)} == {"README.md", *PRESUPPOSED}
