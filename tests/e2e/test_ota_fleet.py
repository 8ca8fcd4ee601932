"""A fleet of real agents on this machine through good, bad and forged releases; prints the counts.

Twenty agents run from the slots of separate flash files. In containers: `containers/test_container_fleet.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.ota_story import CLASS, NAMES, SLOT, TRIAL_MS, Fleet, release_story
from tests.fakes.board import Agent
from tests.fixtures.person import Person
from ygg.pki import identities
from ygg.pki.names import Kind, identity
from ygg.pki.passphrase import VARIABLE
from ygg.pki.store import Store, utc_now

pytestmark = pytest.mark.timeout(900)
PASSPHRASE = "for the authorities of this test"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A separate mesh with a root, and the agents on version 1."""
    folder = tmp_path_factory.mktemp("fleet")
    person = Person(folder)
    person.environment[VARIABLE] = PASSPHRASE
    started = person.ygg("up", "-d", "--free-ports")
    assert started.returncode == 0, started.stdout + started.stderr
    found, agents = Fleet(person, folder), list[Agent]()
    try:
        root = found.trust()
        agents += [_agent(folder, name, root) for name in NAMES]
        yield found
    finally:
        for agent in agents:
            agent.kill()
        person.ygg("down")


def _agent(home: Path, name: str, root: Path) -> Agent:
    link = json.loads((home / "home" / "contexts.json").read_text())["contexts"]["local"]["link"]
    folder = home / name
    store = Store(home / "home" / "mesh" / "pki", passphrase=PASSPHRASE.encode)
    identities.ensure(store, identity(Kind.DEVICE, name), folder, now=utc_now())
    slots = [f"--slots={folder / 'flash'}", f"--slot-bytes={SLOT}", f"--ota-root={root}"]
    return Agent.one(name, link, folder, folder, *slots, f"--trial-ms={TRIAL_MS}", f"--device-class={CLASS}")


def test_good_bad_and_forged_releases(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    lines = release_story(fleet)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
