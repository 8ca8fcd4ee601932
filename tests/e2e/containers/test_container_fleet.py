"""A fleet of twenty containers through good, bad and forged releases, driven through the mesh in containers.

Each device is a container of the agent's image with a separate volume: identity, root, and the flash file with the
agent's executable in its slots. An update restarts the device by execve of the slot's bytes; the container stays.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator

import pytest
from docker.models.containers import Container

from tests.e2e.containers.mesh import ComposeMesh
from tests.e2e.ota_story import CLASS, DEVICES, NAMES, SLOT, TRIAL_MS, Fleet, release_story
from tests.fixtures.person import Person

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

_USER = 10001
_TRUST = ["--ca=/data/services.pem", "--cert=/data/cert.pem", "--key=/data/key.pem"]
_SLOTS = ["--slots=/data/flash", f"--slot-bytes={SLOT}", "--ota-root=/data/root", f"--trial-ms={TRIAL_MS}"]


@pytest.fixture(scope="module")
def fleet(compose: ComposeMesh) -> Iterator[Fleet]:
    """A mesh with a root, and the containers on version 1."""
    compose.files()  # also creates the context
    person = Person(compose.directory)
    person.environment["YGG_CONTEXT"] = "compose"
    found, containers = Fleet(person, compose.directory), list[Container]()
    try:
        root = found.trust().read_bytes()
        compose.issue_devices(*NAMES)
        for name in NAMES:
            containers.append(_device(compose, name, root))
        yield found
    finally:
        for container in containers:
            compose.remove(container)


def _device(compose: ComposeMesh, name: str, root: bytes) -> Container:
    agent = [f"--id={name}", "--connect=jotunheim-bridge:7443", "--control=/data/control", "--backoff-max-ms=1000"]
    container = compose.create("agent", name, [*agent, f"--device-class={CLASS}", *_TRUST, *_SLOTS], volume="/data")
    files = compose.read("pki", f"/pki/identities/device/{name}")
    container.put_archive("/data", _packed({**files, "root": root}))
    container.start()
    return container


def _packed(files: dict[str, bytes]) -> bytes:
    """Return a tar of the files, readable by the containers' user only."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(data), 0o600, _USER, _USER
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def test_good_bad_and_forged_releases(compose: ComposeMesh, fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    lines = release_story(fleet)
    running = [compose.named(name) for name in NAMES]
    assert [each.status for each in running] == ["running"] * DEVICES
    assert {each.attrs["RestartCount"] for each in running} == {
        0
    }  # the agents restarted themselves, the engine did not
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
