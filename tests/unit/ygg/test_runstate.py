"""A lock shows whether a mesh runs, never a file that a crash left behind."""

import os
from pathlib import Path

import pytest

from ygg.exits import CliError
from ygg.mesh.ports import Ports, check_free, free_ports
from ygg.mesh.runstate import READY, MeshState, RunDir


def test_stale_state_file_is_not_a_running_mesh(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.write(MeshState(READY, os.getpid(), 0.0))
    assert not run_dir.running()
    assert run_dir.stop(1) is False


def test_the_lock_says_that_it_runs_and_a_second_one_is_refused(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    assert not run_dir.running()
    with run_dir.hold():
        run_dir.write(MeshState(READY, 4242, 0.0))
        assert run_dir.running()
        with pytest.raises(CliError, match="already running \\(pid 4242\\)"), RunDir(tmp_path / "run").hold():
            pass
    assert not run_dir.running()


def test_unreadable_state_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "mesh.json").write_text('{"phase": "ready", "unknown": 1}')
    assert RunDir(tmp_path).read() is None


def test_free_ports_differ_and_a_taken_one_is_named() -> None:
    import socket

    ports = free_ports()
    numbers = [getattr(ports, name) for name in Ports.__slots__]
    assert len(set(numbers)) == len(numbers)
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(numbers) < max(outgoing, 20_000)  # else a connection going out could take one before its server has it
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.loki))
        taken.listen()
        with pytest.raises(CliError, match=f"port already in use: {ports.loki} \\(loki\\)") as refused:
            check_free(ports, "127.0.0.1")
    assert "--free-ports" in refused.value.hint
    check_free(ports, "127.0.0.1")
