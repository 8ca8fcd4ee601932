"""`ygg up`: the whole mesh as real processes, killed in several ways, without leftovers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.home import PARTS, Home, alive
from tests.fixtures.wait import accepts, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path)
    yield found
    found.ygg("down")


@pytest.fixture
def mesh(home: Home) -> Home:
    """A mesh in the background, for one test."""
    started = home.ygg("up", "-d", "--free-ports")
    assert started.returncode == 0, started.stderr
    return home


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A mesh for the tests that leave it running."""
    found = Home(tmp_path_factory.mktemp("shared"))
    started = found.ygg("up", "-d", "--free-ports")
    assert started.returncode == 0, started.stderr
    yield found
    found.ygg("down")


def test_up_status_down(mesh: Home) -> None:
    assert mesh.ready(), mesh.ygg("status").stdout
    lines = mesh.status()
    assert lines["registry"]["note"] == "0 devices"
    assert lines["jotunheim_bridge"]["note"] == "0 sessions"
    assert all(lines[part]["uptime_s"] < 60 for part in PARTS)
    children = mesh.children()
    assert sorted(children) == sorted(PARTS)
    ports = mesh.state()["ports"]
    stopped = mesh.ygg("down")
    assert (stopped.returncode, stopped.stdout) == (0, "mesh stopped\n")
    assert not any(alive(pid) for pid in children.values())
    assert not any(accepts(port) for port in ports.values())
    assert mesh.ygg("status").returncode == 3
    assert mesh.ygg("down").stdout == "no mesh is running\n"


def test_up_selects_its_mesh_and_reports_it(home: Home) -> None:
    home.ygg("context", "set", "away", "--identity", str(home.path / "missing"))
    home.ygg("context", "use", "away")
    started = home.ygg("up", "-d", "--free-ports")
    assert "current context: local; switch back:  ygg context use away" in started.stderr
    assert home.ready()


def test_second_mesh_in_the_same_home_is_refused(shared: Home) -> None:
    for arguments in (["up", "--free-ports"], ["up", "-d", "--free-ports"]):
        second = shared.ygg(*arguments)
        assert second.returncode == 1
        assert "the mesh is already running" in second.stderr
    assert shared.ready()


@pytest.mark.parametrize("victim", PARTS)
def test_killed_component_is_restarted(shared: Home, victim: str) -> None:
    mesh = shared
    before = mesh.children()
    os.kill(before[victim], signal.SIGKILL)
    until(lambda: not alive(before[victim]))
    until(mesh.ready, within_s=20, what=f"{victim} back")
    after = mesh.children()
    assert after[victim] != before[victim]
    assert {n: p for n, p in after.items() if n != victim} == {n: p for n, p in before.items() if n != victim}
    assert mesh.state()["restarts"][victim] == 1


def test_no_process_outlives_a_killed_supervisor(mesh: Home) -> None:
    children = mesh.children()
    os.kill(mesh.state()["pid"], signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in children.values()), what="children gone")
    assert mesh.ygg("down").stdout == "no mesh is running\n"
    again = mesh.ygg("up", "-d", "--free-ports")
    assert again.returncode == 0, again.stderr
    assert mesh.ready()


def test_identities_and_data_survive_a_restart(mesh: Home) -> None:
    identity = mesh.path / "mesh" / "identities" / "service" / "registry" / "cert.pem"
    before = identity.read_bytes()
    mesh.ygg("down")
    assert mesh.ygg("up", "-d", "--free-ports").returncode == 0
    assert identity.read_bytes() == before
    assert mesh.ready()


def test_in_the_foreground_ctrl_c_stops_it_quietly(home: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ygg", "up", "--free-ports"],
        env=home.environment,
        cwd=home.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert [line.partition(" ")[0] for line in lines] == ["CA", "Save", "mesh"]
    children = home.children()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=40)
    assert process.returncode in (0, 130)
    assert errors == ""
    assert "Traceback" not in rest
    assert not any(alive(pid) for pid in children.values())


def test_up_runs_in_a_home_with_a_non_ascii_name(tmp_path: Path) -> None:
    home = Home(tmp_path / 'häuser ✓ 家 $HOME \'n "q"')
    home.path.mkdir()
    started = home.ygg("up", "-d", "--free-ports")
    try:
        assert started.returncode == 0, started.stderr
        assert home.ready()
        until(lambda: home.status()["loki Scheme"]["ready"], what="workers of Scheme")
        assert (home.path / "mesh" / "nats" / "store" / "jetstream").is_dir()
    finally:
        home.ygg("down")


def test_a_taken_port_is_named_before_anything_starts(home: Home) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code = f"from ygg.mesh.ports import Ports, check_free; check_free(Ports(ota={port}), '127.0.0.1')"
        done = subprocess.run(
            [sys.executable, "-c", code], env=home.environment, capture_output=True, text=True, check=False
        )
    assert f"{port} (ota)" in done.stderr


def test_failed_service_ends_the_start_with_its_output(home: Home) -> None:
    home.environment["YGG_OTA_DRAIN_S"] = "often"
    for arguments in (["up", "--free-ports"], ["up", "-d", "--free-ports"]):
        failed = home.ygg(*arguments)
        assert failed.returncode == 1
        assert "ota cannot run" in failed.stderr
        assert "YGG_OTA_DRAIN_S" in failed.stderr
    assert "no mesh is running" in home.ygg("down").stdout
