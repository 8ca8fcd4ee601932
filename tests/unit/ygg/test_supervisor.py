"""The supervisor's rules, on a machine of which time and processes are pretended."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ygg.mesh import child
from ygg.mesh.backoff import MAX_S, STEADY_S, Backoff
from ygg.mesh.child import Spec
from ygg.mesh.supervisor import ChildFailedError, Member, ProcessHost, Supervisor, child_failed


class TestBackoff:
    def test_waits_double_up_to_the_most(self) -> None:
        backoff, now = Backoff(), 0.0
        waits = []
        for _ in range(9):
            backoff.started(now)
            now += 0.01
            waits.append(backoff.ended(now))
        assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_S, MAX_S, MAX_S]
        assert backoff.restarts == 9

    def test_healthy_child_resets_its_backoff(self) -> None:
        backoff = Backoff()
        for _ in range(5):
            backoff.started(0)
            backoff.ended(1)
        backoff.started(100)
        assert backoff.ended(100 + STEADY_S) == pytest.approx(0.1)
        backoff.started(200)
        assert backoff.ended(200 + STEADY_S - 0.001) == pytest.approx(0.2)

    def test_thousands_of_failures_do_not_overflow(self) -> None:
        backoff = Backoff()
        for _ in range(5000):
            backoff.started(0)
            assert backoff.ended(0) <= MAX_S


class FakeProcess:
    """Runs until stopped; `lives` makes time pass meanwhile."""

    def __init__(self, pid: int, lives: Callable[[], None]) -> None:
        self.pid = pid
        self._lives = lives
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, status: int) -> None:
        self.returncode = status
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        self._lives()
        assert self.returncode is not None
        return self.returncode


@dataclass
class FakeMachine:
    """Counts starts and stops; time passes only in `sleep`."""

    now: float = 0.0
    processes: list[tuple[str, FakeProcess]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    ends: dict[str, deque[int]] = field(default_factory=dict)
    runs_s: float = 0.0

    def machine(self) -> ProcessHost:
        return ProcessHost(self.spawn, self.stop, lambda: self.now, self.sleep)

    async def spawn(self, spec: Spec) -> FakeProcess:
        process = FakeProcess(len(self.processes) + 1, self._run)
        self.processes.append((spec.name, process))
        if self.ends.get(spec.name):
            process.end(self.ends[spec.name].popleft())
        return process

    def _run(self) -> None:
        self.now += self.runs_s

    async def stop(self, process: FakeProcess, stop_s: float) -> None:
        if process.returncode is None:
            self.stopped.append(next(name for name, p in self.processes if p is process))
            process.end(-15)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def spec(name: str, tmp_path: Path) -> Spec:
    return Spec(name, ["x"], {}, tmp_path / f"{name}.log", tmp_path)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
def ended() -> list[tuple[str, int | None, float]]:
    return []


def supervised(
    world: FakeMachine, tmp_path: Path, ended: list[tuple[str, int | None, float]], *names: str
) -> Supervisor:
    def on_end(member: Member, wait_s: float) -> None:
        ended.append((member.spec.name, member.last_status, wait_s))

    return Supervisor([spec(name, tmp_path) for name in names], on_end, world.machine())


Ended = list[tuple[str, int | None, float]]


async def test_starts_in_order_and_stops_in_the_reverse_one(tmp_path: Path, ended: Ended) -> None:
    world = FakeMachine()
    task = asyncio.create_task(supervised(world, tmp_path, ended, "nats", "registry", "loki").run())
    await settle()
    assert [name for name, _ in world.processes] == ["nats", "registry", "loki"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.stopped == ["loki", "registry", "nats"]
    assert ended == []


async def test_ended_child_restarts_without_its_neighbour(tmp_path: Path, ended: Ended) -> None:
    world = FakeMachine(ends={"loki": deque([1, -9])})
    task = asyncio.create_task(supervised(world, tmp_path, ended, "nats", "loki").run())
    await settle()
    assert [name for name, _ in world.processes] == ["nats", "loki", "loki", "loki"]
    assert ended == [("loki", 1, 0.1), ("loki", -9, 0.2)]
    assert world.slept == [0.1, 0.2]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_after_a_steady_run_the_next_start_is_quick_again(tmp_path: Path, ended: Ended) -> None:
    world = FakeMachine(ends={"loki": deque([1, 1, 1])}, runs_s=STEADY_S)
    task = asyncio.create_task(supervised(world, tmp_path, ended, "loki").run())
    await settle()
    assert [wait_s for *_, wait_s in ended] == [0.1, 0.1, 0.1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_settings_fault_ends_mesh_with_output_of_child(tmp_path: Path, ended: Ended) -> None:
    (tmp_path / "loki.log").write_text("first\nYGG_LOKI_LISTEN: must be HOST:PORT\n")
    world = FakeMachine(ends={"loki": deque([2])})
    with pytest.raises(ChildFailedError, match="loki cannot run: YGG_LOKI_LISTEN: must be HOST:PORT"):
        await supervised(world, tmp_path, ended, "nats", "loki").run()
    assert world.stopped == ["nats"]
    assert ended == []


async def test_exit_callback_may_give_up(tmp_path: Path) -> None:
    world = FakeMachine(ends={"loki": deque([1] * 9)})

    def on_end(member: Member, wait_s: float) -> None:
        if member.backoff.restarts == 3:
            raise child_failed(member.spec, "ended 3 times")

    supervisor = Supervisor([spec("nats", tmp_path), spec("loki", tmp_path)], on_end, world.machine())
    with pytest.raises(ChildFailedError, match="loki ended 3 times"):
        await supervisor.run()
    assert world.stopped == ["nats"]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", ""),
        ("plain words\n\n", "plain words"),
        ('{"msg": "no NATS", "hint": "Start it"}\n', "no NATS. Start it"),
        (
            json.dumps({"msg": "stopped", "exception": " | ExceptionGroup: 1\n | TypeError: not a list\n +-"}) + "\n",
            "stopped. TypeError: not a list",
        ),
        ("[1, 2]\n", "[1, 2]"),
    ],
)
def test_the_last_words_of_a_child_are_for_people(tmp_path: Path, log: str, said: str) -> None:
    (tmp_path / "x.log").write_text(log)
    assert child.last_log_line(spec("x", tmp_path)) == said
