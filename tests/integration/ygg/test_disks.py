"""`ygg up` on small disks, and on one that fills up and is freed: real file systems, real processes."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.disk import Disk, Disks
from tests.fixtures.home import Home, alive
from tests.fixtures.wait import until
from ygg.mesh.nats_keeper import ENOUGH_BYTES

pytestmark = pytest.mark.timeout(420)
HOME_S = 60


@pytest.fixture
def home_on(disk: Disks) -> Iterator[Callable[[Disk], Home]]:
    homes: list[Home] = []

    def make(on: Disk) -> Home:
        path = on.path / "home"
        path.mkdir()
        homes.append(Home(path))
        return homes[-1]

    yield make
    for home in homes:
        home.ygg("down")


def up(home: Home) -> None:
    started = home.ygg("up", "-d", "--free-ports")
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("size", ["2g", "12g", "16g"])
def test_mesh_starts_restarts_and_outlives_bridge_on_disk_of(
    disk: Disks, home_on: Callable[[Disk], Home], size: str
) -> None:
    home = home_on(disk(size))
    up(home)
    bridge = home.children()["jotunheim_bridge"]
    os.kill(bridge, signal.SIGKILL)
    until(lambda: not alive(bridge) and home.ready(), HOME_S, "the bridge is back")
    home.ygg("down")
    up(home)
    assert home.ready()


def test_full_disk_is_reported_and_recovers_when_freed(disk: Disks, home_on: Callable[[Disk], Home]) -> None:
    small = disk("256m")
    home = home_on(small)
    up(home)
    assert home.ygg("device", "token", "early-1").returncode == 0
    before = home.children()

    small.fill()
    home.ygg("device", "token", "shed-1")  # nats-server may begin a write that it cannot finish
    said: list[str] = []

    def refused() -> bool:
        said.append(home.ygg("device", "token", "shed-2").stderr)
        assert "RESOURCE_EXHAUSTED" in said[-1]
        return True

    until(refused, HOME_S, "a write is refused")
    assert "the disk of NATS or the mesh's share of it is full" in said[-1]
    assert "Free space on that disk" in said[-1]
    assert len(said) < 5, said
    nats = home.status()["nats"]
    assert not nats["ready"]
    assert "disk full, writes are rejected until space is freed" in nats["note"]
    assert "disk full, all writes are rejected" in home.ygg("doctor").stdout
    assert home.ygg("device", "tokens").returncode == 0  # existing data can be read
    os.kill(before["registry"], signal.SIGKILL)
    until(lambda: home.children().get("registry", before["registry"]) != before["registry"], HOME_S, "registry starts")

    small.release()
    until(lambda: home.ygg("device", "token", "shed-3").returncode == 0, HOME_S, "writes are accepted again")
    until(home.ready, HOME_S, "the mesh is ready")
    after = home.children()
    assert {name for name, pid in before.items() if after[name] != pid} == {"registry"}
    assert home.ygg("device", "tokens").stdout.count("early-1") == 1


def test_start_on_a_full_disk_reports_it(disk: Disks, home_on: Callable[[Disk], Home]) -> None:
    small = disk("256m")
    home = home_on(small)
    small.fill()
    refused = home.ygg("up", "--free-ports")
    assert refused.returncode == 1
    assert "is full" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_keeper_refuses_before_the_disk_is_full(disk: Disks, home_on: Callable[[Disk], Home]) -> None:
    small = disk("256m")
    home = home_on(small)
    up(home)
    small.fill(leave=ENOUGH_BYTES // 4)
    until(lambda: not home.status()["nats"]["ready"], HOME_S, "writes are refused")
    status = home.status()
    for name in ("registry", "jotunheim_bridge", "loki", "ota"):
        assert (status[name]["ready"], status[name]["missing"]) == (False, ["nats"])
    log = (home.path / "mesh" / "logs" / "nats.log").read_text()
    assert "refusing writes until space is freed" in log
    assert "write error" not in log
    small.release()
    until(home.ready, HOME_S, "the mesh is ready")
