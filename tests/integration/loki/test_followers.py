"""Commands that follow a resource refuse unknown names, and name the resource that they wait for on standard error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.mesh import Mesh, Processes
from tests.fixtures.pki import Pki
from tests.fixtures.process import ROOT, starter
from tests.integration.loki.programs import start_loki
from ygg.exits import Exit
from yggdrasil.registry.v1 import registry_pb2 as rp

PROGRAM = """-- Does nothing.
-- @version 1.0.0
"""


@pytest.fixture(scope="module")
def loki(shared_processes: Processes, pki: Pki, scheme_cache: Path) -> Iterator[str]:
    with starter(pki) as start:
        yield start_loki(start, shared_processes, scheme_cache).listen


class Command:
    """`ygg` as a separate process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "YGG_HOME": str(folder / "home"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ygg", *words],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def until_it_waits(self, *words: str) -> str:
        """Return standard error up to the line with the hint at Ctrl-C, then interrupt the command."""
        process = self.start(*words)
        said = ""
        assert process.stderr is not None
        while "Ctrl-C" not in said:
            line = process.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (Exit.INTERRUPTED, "")
        return said


@pytest.fixture
def ygg(loki: str, shared_processes: Processes, pki: Pki, tmp_path: Path) -> Command:
    command = Command(tmp_path)
    endpoints = ["--registry", shared_processes.endpoint("registry"), "--loki", loki]
    endpoints += ["--bridge", shared_processes.endpoint("jotunheim_bridge")]
    identity = str(pki.directory("user", "operator"))
    assert command("context", "set", "test", "--identity", identity, *endpoints)[0] == Exit.OK
    assert command("context", "use", "test")[0] == Exit.OK
    (tmp_path / "there.lua").write_text(PROGRAM)
    return command


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("device watch missing-1", "there is no device missing-1", "ygg device ls"),
        ("twin watch missing-1", "there is no device missing-1", "ygg device ls"),
        ("program dev there.lua -d missing-1", "there is no device missing-1", "ygg device ls"),
        ("program logs -f nothing", "there is no deployment nothing", "ygg program ls"),
        ("script logs -f nothing", "there is no script nothing", "ygg script ls"),
        ("script logs nothing", "there is no script nothing", "ygg script ls"),
    ],
)
def test_follower_of_an_unknown_name_is_refused(ygg: Command, words: str, message: str, hint: str) -> None:
    code, out, err = ygg(*words.split())
    assert (code, out) == (Exit.NOT_FOUND, "")
    assert message in err
    assert hint in err
    assert "Ctrl-C" not in err


def test_program_logs_names_a_device_without_an_instance(ygg: Command) -> None:
    assert ygg("program", "deploy", "there.lua", "--mesh")[0] == Exit.OK
    code, _, err = ygg("program", "logs", "-f", "there", "-d", "missing-1")
    assert code == Exit.NOT_FOUND
    assert "there does not run on missing-1" in err
    assert "ygg program show there" in err


async def test_follower_names_the_subject_it_watches(ygg: Command, mesh: Mesh) -> None:
    await mesh.registry.RegisterDevice(rp.RegisterDeviceRequest(device_id=mesh.one, state=rp.DEVICE_STATE_SUSPENDED))
    said = ygg.until_it_waits("device", "watch", mesh.one, "--kind", "refused")
    assert f"{mesh.one} is suspended." in said
    assert f"Watching refused events: {mesh.one}." in said
    assert "all devices" in ygg.until_it_waits("device", "watch")
    assert mesh.one in ygg.until_it_waits("twin", "watch", mesh.one)
    assert ygg("program", "deploy", "there.lua", "--mesh")[0] == Exit.OK
    assert "the log of there" in ygg.until_it_waits("program", "logs", "-f", "there", "-n", "0")
    assert "all scripts" in ygg.until_it_waits("script", "logs", "-f")


async def test_follower_prints_only_json(ygg: Command, mesh: Mesh) -> None:
    await (await mesh.device()).negotiate()
    watching = ygg.start("--json", "twin", "watch", mesh.one)
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["device_id"] == mesh.one
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert "Ctrl-C" not in err
