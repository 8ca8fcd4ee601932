"""A fleet of real agents through good, bad and forged releases, all by commands that people type; prints the counts.

Twenty agents run from slots of their own flash files. Release 2 goes out in waves. Release 3 is a build that no bridge
talks to: its canaries come back by themselves, the rollout halts, the rest stays on 2.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.board import AGENT, Agent
from tests.fixtures.person import ROOT, Person
from tests.fixtures.wait import until
from ygg.pki import identities
from ygg.pki.names import Kind, identity
from ygg.pki.store import Store, utc_now

DEVICES = 20
SLOT = 1 << 20
CLASS = "sim-board"
KEYS = ("root-a", "root-b", "release-a", "release-b", "stranger")

pytestmark = pytest.mark.timeout(900)


def image(version: str, *more: str) -> Path:
    """The agent built with that version."""
    found = AGENT.parents[1] / "images" / f"ygg-agent-{version}"
    if not found.exists():
        make = ["make", "-C", str(ROOT / "firmware"), f"PYTHON={sys.executable}", "image", f"VERSION={version}", *more]
        subprocess.run(make, check=True, capture_output=True)
    return found


class Fleet:
    """The agents and the person who updates them."""

    def __init__(self, person: Person, folder: Path) -> None:
        self.person, self.folder = person, folder
        self.agents: list[Agent] = []

    def file(self, name: str) -> str:
        """A file of the person's."""
        return str(self.folder / name)

    def ota(self, *words: str) -> Any:
        """`ygg ota … --json`."""
        return self.person.json("ota", *words)

    def refused(self, *words: str) -> str:
        """What a command says that must fail."""
        done = self.person.ygg("ota", *words)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def signed(self, name: str, path: Path, *words: str, keys: tuple[str, ...] = ("release-a", "release-b")) -> str:
        """A manifest, signed."""
        out = self.file(name)
        held = [word for key in keys for word in ("--key", self.file(f"{key}.key"))]
        given = [*words] if "--class" in words else [*words, "--class", CLASS]
        self.ota("manifest", str(path), *given, "--slot-size", str(SLOT), "--chunk", "2048", "-o", out, *held)
        return out

    def release(self, name: str, path: Path, *words: str) -> str:
        """Uploads and releases; returns the id."""
        return str(self.ota("release", self.signed(name, path, *words), "--image", str(path))["id"])

    def watch(self, rollout: str) -> dict[str, Any]:
        """Follows it to its end; returns the last that was told. On a busy machine that may take a second look."""
        try:
            done = self.person.ygg("ota", "rollout", "watch", rollout, "--json")
        except subprocess.TimeoutExpired:
            done = self.person.ygg("ota", "rollout", "watch", rollout, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def versions(self) -> Counter[str]:
        """How many devices run which version, as the registry knows."""
        return Counter(each["firmware"] for each in self.person.json("device", "ls"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A mesh of its own, a root, and the agents on version 1 in session."""
    folder = tmp_path_factory.mktemp("fleet")
    person = Person(folder)
    started = person.ygg("up", "-d", "--free-ports")
    assert started.returncode == 0, started.stdout + started.stderr
    found = Fleet(person, folder)
    try:
        _trust(found)
        _agents(found)
        yield found
    finally:
        for agent in found.agents:
            agent.kill()
        person.ygg("down")


def _trust(fleet: Fleet) -> None:
    for key in KEYS:
        fleet.ota("keygen", fleet.file(f"{key}.key"))
    fleet.ota("timestamp-key", "-o", fleet.file("timestamp.pub"))
    roots = ["--root-key", fleet.file("root-a.key"), "--root-key", fleet.file("root-b.key"), "--root-threshold", "2"]
    holders = ["--release-key", fleet.file("release-a.key"), "--release-key", fleet.file("release-b.key")]
    online = ["--release-threshold", "2", "--timestamp-key", fleet.file("timestamp.pub"), "-o", fleet.file("1.root")]
    fleet.ota("root", "init", *roots, *holders, *online, "--key", fleet.file("root-a.key"))
    assert "TOO_FEW" in fleet.refused("root", "set", fleet.file("1.root"), "--json")
    fleet.ota("sign", fleet.file("1.root"), "--key", fleet.file("root-b.key"))
    assert fleet.ota("root", "set", fleet.file("1.root")) == {"version": 1}


def _agents(fleet: Fleet) -> None:
    home = fleet.folder / "home"
    link = json.loads((home / "contexts.json").read_text())["contexts"]["local"]["link"]
    store = Store(home / "mesh" / "pki")
    for number in range(1, DEVICES + 1):
        name = f"fleet-{number}"
        folder = fleet.folder / name
        identities.ensure(store, identity(Kind.DEVICE, name), folder, now=utc_now())
        slots = [f"--slots={folder / 'flash'}", f"--slot-bytes={SLOT}", f"--ota-root={fleet.file('1.root')}"]
        options = [*slots, "--trial-ms=6000", f"--device-class={CLASS}"]
        fleet.agents.append(Agent.one(name, link, folder, folder, *options))
    until(lambda: fleet.versions() == {"1.0.0": DEVICES}, 60, "the fleet is in session")


def test_good_bad_and_forged_releases(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    two = fleet.release("2.release", image("2.0.0"), "--version", "2.0.0", "--sequence", "2", "--counter", "2")
    plan = fleet.ota("rollout", "start", two, "--waves", "2,50%,100%", "--dry-run")
    assert plan["counts"]["total"] == DEVICES
    rollout = fleet.ota("rollout", "start", two, "--waves", "2,50%,100%")
    done = fleet.watch(rollout["id"])
    assert (done["state"], done["counts"]["confirmed"]) == ("done", DEVICES)
    assert fleet.versions() == {"2.0.0": DEVICES}
    told.append(f"release 2: {done['counts']['confirmed']} of {DEVICES} confirmed in {done['waves']} waves")

    bad = image("3.0.0", "MUTE=1")
    three = fleet.release("3.release", bad, "--version", "3.0.0", "--sequence", "3", "--counter", "3")
    rollout = fleet.ota("rollout", "start", three, "--waves", "2,50%,100%", "--halt-at", "1")
    halted = fleet.watch(rollout["id"])
    assert (halted["state"], halted["counts"]["reverted"] >= 1) == ("halted", True)
    until(lambda: fleet.versions() == {"2.0.0": DEVICES}, 60, "the canaries are back")
    assert halted["counts"]["waiting"] == DEVICES - 2
    told.append(f"release 3: {halted['counts']['reverted']} canaries reverted, halted, {DEVICES} run 2.0.0")

    forged = fleet.signed(
        "forged.release", bad, "--version", "4.0.0", "--sequence", "4", keys=("stranger", "release-a")
    )
    assert "TOO_FEW_SIGNATURES" in fleet.refused("release", forged, "--json")
    four = fleet.release("4.release", image("1.0.0"), "--version", "1.0.0", "--sequence", "4", "--counter", "1")
    assert "security counter is below 2" in fleet.refused("rollout", "start", four)
    other = fleet.release(
        "5.release", bad, "--version", "5", "--sequence", "1", "--counter", "9", "--class", "esp32-c3"
    )
    assert "NOTHING_TO_UPDATE" in fleet.refused("rollout", "start", other, "--json")
    assert fleet.versions() == {"2.0.0": DEVICES}
    told.append("refused: a forged, a downgraded and a wrong-class release")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(told) + "\n")
