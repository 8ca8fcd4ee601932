"""Real child processes: they stop on request, and never outlive their parent."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.wait import eventually, until
from ygg.exits import CliError
from ygg.mesh import child
from ygg.mesh.child import Spec
from ygg.mesh.supervisor import Supervisor

STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT = "import subprocess,sys,time; p=subprocess.Popen(['sleep','60']); print(p.pid, flush=True); time.sleep(60)"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def spec(tmp_path: Path, code: str) -> Spec:
    return Spec("x", [sys.executable, "-c", code], {"PATH": os.environ["PATH"]}, tmp_path / "x.log", tmp_path)


async def test_its_output_goes_to_the_log_and_the_log_is_private(tmp_path: Path) -> None:
    process = await child.spawn(spec(tmp_path, "import sys; print('one'); print('two', file=sys.stderr)"))
    assert await process.wait() == 0
    assert set((tmp_path / "x.log").read_text().split()) == {"one", "two"}
    assert (tmp_path / "x.log").stat().st_mode & 0o777 == 0o600


async def test_child_does_not_inherit_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cr3t")
    process = await child.spawn(spec(tmp_path, "import os; print(sorted(os.environ))"))
    await process.wait()
    assert "SECRET" not in (tmp_path / "x.log").read_text()


async def test_one_that_ignores_sigterm_is_killed_in_time(tmp_path: Path) -> None:
    process = await child.spawn(spec(tmp_path, STUBBORN))
    await eventually(lambda: "up" in (tmp_path / "x.log").read_text())
    await child.stop(process, 0.3)
    assert process.returncode == -signal.SIGKILL


async def test_descendants_end_with_the_child(tmp_path: Path) -> None:
    process = await child.spawn(spec(tmp_path, PARENT))
    grandchild = int(await eventually(lambda: (tmp_path / "x.log").read_text().strip()))
    await child.stop(process, 2)
    await eventually(lambda: not alive(grandchild))


async def test_a_full_log_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"x" * (8 * 1024 * 1024 + 1))
    process = await child.spawn(spec(tmp_path, "print('new')"))
    await process.wait()
    assert (tmp_path / "x.log").read_text() == "new\n"
    assert (tmp_path / "x.log.1").stat().st_size == 8 * 1024 * 1024 + 1


async def test_a_log_is_rotated_while_its_child_writes_on(tmp_path: Path) -> None:
    full = f"print('x' * {child.MAX_LOG_BYTES}, flush=True)"
    one = spec(tmp_path, f"import time; {full}\nwhile True: print('on', flush=True); time.sleep(.01)")
    process = await child.spawn(one)
    await eventually(lambda: one.log.stat().st_size > child.MAX_LOG_BYTES)
    child.rotate(one.log)
    await eventually(lambda: one.log.read_text().startswith("on\n"))
    await child.stop(process, 2)
    assert one.log.stat().st_size < child.MAX_LOG_BYTES
    assert (tmp_path / "x.log.1").stat().st_size > child.MAX_LOG_BYTES
    assert (tmp_path / "x.log.1").stat().st_mode & 0o777 == 0o600


async def test_the_supervisor_rotates_logs_while_children_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ygg.mesh.supervisor.ROTATE_S", 0.05)
    code = f"print('x' * {child.MAX_LOG_BYTES}, flush=True); import time; time.sleep(60)"
    running = asyncio.create_task(Supervisor([spec(tmp_path, code)], lambda *_: None).run())
    await eventually(lambda: (tmp_path / "x.log.1").stat().st_size > child.MAX_LOG_BYTES)
    await eventually(lambda: (tmp_path / "x.log").stat().st_size == 0)
    running.cancel()
    await asyncio.wait([running])


def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    supervisor = f"""
import asyncio, sys
from pathlib import Path
from ygg.exits import CliError
from ygg.mesh import child
from ygg.mesh.child import Spec
async def main():
    spec = Spec("x", [sys.executable, "-c", {STUBBORN!r}], {{}}, Path("x.log"), Path("."))
    process = await child.spawn(spec)
    print(process.pid, flush=True)
    await process.wait()
asyncio.run(main())
"""
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", supervisor],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'gen'}"},
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    until(lambda: "up" in (tmp_path / "x.log").read_text())
    process.kill()
    process.wait(5)
    process.stdout.close()
    until(lambda: not alive(pid), what=f"process {pid} gone")


async def test_missing_program_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot start x: /nowhere/x: No such file"):
        await child.spawn(Spec("x", ["/nowhere/x"], {}, tmp_path / "x.log", tmp_path))
