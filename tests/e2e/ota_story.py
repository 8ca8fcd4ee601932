"""Good, bad and forged releases to a fleet of real agents, by commands of `ygg`.

Owns the scenario and its checks. The tests decide how mesh and agents run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fakes.board import AGENT
from tests.fixtures.person import ROOT, Person
from tests.fixtures.wait import until

DEVICES = 20
NAMES = tuple(f"fleet-{number}" for number in range(1, DEVICES + 1))
SLOT = 1 << 20
CLASS = "fleet-board"
TRIAL_MS = 6000
KEYS = ("root-a", "root-b", "release-a", "release-b", "stranger")
WAVES = ("--waves", "2,50%,100%")


def image(version: str, *more: str) -> Path:
    """Return the path of the agent built with that version; build it if it is missing."""
    found = AGENT.parents[1] / "images" / f"ygg-agent-{version}"
    if not found.exists():
        make = ["make", "-C", str(ROOT / "firmware"), f"PYTHON={sys.executable}", "image", f"VERSION={version}", *more]
        subprocess.run(make, check=True, capture_output=True)
    return found


class Fleet:
    """The operator of a fleet, with a folder for keys and manifests."""

    def __init__(self, person: Person, folder: Path) -> None:
        self.person, self.folder = person, folder

    def file(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return str(self.folder / name)

    def ota(self, *words: str) -> Any:
        """Run `ygg ota … --json` and return its result."""
        return self.person.json("ota", *words)

    def refused(self, *words: str) -> str:
        """Return the standard error of a command that must fail."""
        done = self.person.ygg("ota", *words)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def trust(self) -> Path:
        """Create keys and a root, and set it; return the root's path, to provision devices."""
        for key in KEYS:
            self.ota("keygen", self.file(f"{key}.key"))
        self.ota("timestamp-key", "-o", self.file("timestamp.pub"))
        roots = ["--root-key", self.file("root-a.key"), "--root-key", self.file("root-b.key"), "--root-threshold", "2"]
        holders = ["--release-key", self.file("release-a.key"), "--release-key", self.file("release-b.key")]
        online = ["--release-threshold", "2", "--timestamp-key", self.file("timestamp.pub"), "-o", self.file("1.root")]
        self.ota("root", "init", *roots, *holders, *online, "--key", self.file("root-a.key"))
        first = ("root", "set", self.file("1.root"), "--bootstrap")
        assert "TOO_FEW" in self.refused(*first, "--yes", "--json")
        digest = self.ota("sign", self.file("1.root"), "--key", self.file("root-b.key"))["payload_sha256"]
        assert digest in self.refused("root", "set", self.file("1.root"))
        assert "stdin is not a terminal; pass --yes" in self.refused(*first)
        assert self.ota(*first, "--yes") == {"version": 1, "root_sha256": digest}
        assert "stdin is not a terminal; pass --yes" in self.refused("floor", CLASS, "1")
        assert self.ota("floor", CLASS, "1", "--yes") == {"device_class": CLASS, "floor": 1}
        return self.folder / "1.root"

    def signed(self, name: str, path: Path, *words: str, keys: tuple[str, ...] = ("release-a", "release-b")) -> str:
        """Return the path of a signed manifest."""
        out = self.file(name)
        held = [word for key in keys for word in ("--key", self.file(f"{key}.key"))]
        given = [*words] if "--class" in words else [*words, "--class", CLASS]
        self.ota("manifest", str(path), *given, "--slot-size", str(SLOT), "--chunk", "2048", "-o", out, *held)
        return out

    def release(self, name: str, path: Path, *words: str) -> str:
        """Upload and release an image; return the release id."""
        return str(self.ota("release", self.signed(name, path, *words), "--image", str(path))["id"])

    def watch(self, rollout: str) -> dict[str, Any]:
        """Follow a rollout to its end and return the last report; retry once after a timeout on a busy machine."""
        try:
            done = self.person.ygg("ota", "rollout", "watch", rollout, "--json")
        except subprocess.TimeoutExpired:
            done = self.person.ygg("ota", "rollout", "watch", rollout, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def versions(self) -> Counter[str]:
        """Count the devices of the fleet by version, according to the registry."""
        return Counter(each["firmware"] for each in self.person.json("device", "ls") if each["id"] in NAMES)


def release_story(fleet: Fleet) -> list[str]:
    """Run the scenario on a fleet of version 1.0.0; return one line of counts per release."""
    until(lambda: fleet.versions() == {"1.0.0": DEVICES}, 120, "the fleet is in session")
    lines = [_good(fleet), _bad(fleet), _forged(fleet)]
    assert fleet.versions() == {"2.0.0": DEVICES}
    return lines


def _good(fleet: Fleet) -> str:
    two = fleet.release("2.release", image("2.0.0"), "--version", "2.0.0", "--sequence", "2", "--counter", "2")
    plan = fleet.ota("rollout", "start", two, *WAVES, "--dry-run")
    assert plan["counts"]["total"] == DEVICES
    rollout = fleet.ota("rollout", "start", two, *WAVES)
    done = fleet.watch(rollout["id"])
    assert (done["state"], done["counts"]["confirmed"]) == ("done", DEVICES)
    assert fleet.versions() == {"2.0.0": DEVICES}
    return f"release 2: {done['counts']['confirmed']} of {DEVICES} confirmed in {done['waves']} waves"


def _bad(fleet: Fleet) -> str:
    """A build without a session: its canaries revert automatically, the rollout halts, the rest stays on 2."""
    three = fleet.release("3.release", _mute(), "--version", "3.0.0", "--sequence", "3", "--counter", "3")
    rollout = fleet.ota("rollout", "start", three, *WAVES, "--halt-at", "1")
    halted = fleet.watch(rollout["id"])
    assert (halted["state"], halted["counts"]["reverted"] >= 1) == ("halted", True)
    until(lambda: fleet.versions() == {"2.0.0": DEVICES}, 60, "the canaries are back")
    assert halted["counts"]["waiting"] == DEVICES - 2
    return f"release 3: {halted['counts']['reverted']} canaries reverted, halted, {DEVICES} run 2.0.0"


def _forged(fleet: Fleet) -> str:
    wrong = ("stranger", "release-a")
    forged = fleet.signed("forged.release", _mute(), "--version", "4.0.0", "--sequence", "4", keys=wrong)
    assert "TOO_FEW_SIGNATURES" in fleet.refused("release", forged, "--json")
    four = fleet.release("4.release", image("1.0.0"), "--version", "1.0.0", "--sequence", "4", "--counter", "1")
    assert "security counter 1 is below 2" in fleet.refused("rollout", "start", four)
    for_others = ("--version", "5", "--sequence", "1", "--counter", "9", "--class", "esp32-c3")
    other = fleet.release("5.release", _mute(), *for_others)
    assert "NOTHING_TO_UPDATE" in fleet.refused("rollout", "start", other, "--json")
    return "refused: a forged, a downgraded and a wrong-class release"


def _mute() -> Path:
    return image("3.0.0", "MUTE=1")
