"""Many programs in few workers, without a mesh: memory of each, delay of timers, processor time.

Instances, timers and workers are Loki's own. There is no store and no mesh, since these programs use neither.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.harness.compare import alone, percentile
from bench.harness.results import Metric
from services.domain.values import Value
from services.loki.adapters.languages import LuaCommand, SchemeCommand
from services.loki.adapters.live_worker import LiveWorker
from services.loki.model import Language
from services.loki.programs.instance import Instance, ReplicaContext
from services.loki.programs.lifecycle import State
from services.loki.programs.model import Manifest, Package, Version
from services.loki.programs.placement import Ref
from services.loki.programs.workers import ProgramWorkers

GB = 1e9
TIMERS = 1000
SOURCE = {
    Language.LUA: "n = 0 every('tick', 1, function() n = n + 1 end)",
    Language.SCHEME: "(define n 0) (every 'tick 1 (lambda (_) (set! n (+ n 1))))",
}
TARGETS = {Language.LUA: (15_000.0, 20.0), Language.SCHEME: (3_000.0, 50.0)}


class Clock:  # implements services.loki.ports.Clock
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class NullStore:
    """An empty store that rejects writes."""

    entries: Mapping[str, Value] = {}
    size_bytes = 0

    async def write(self, entries: Mapping[str, Value]) -> None:
        raise NotImplementedError


class Crowd:
    """Instances of one program, with workers that nothing else uses."""

    def __init__(self, language: Language, cache: Path) -> None:
        command: Any = LuaCommand() if language is Language.LUA else SchemeCommand(cache)

        async def start(_language: Language) -> LiveWorker:
            return await LiveWorker.start(await command())

        self.workers = ProgramWorkers(start, 1)
        self.language = language
        self.late_ms: list[float] = []
        self.instances: list[Instance] = []
        unused: Any = None
        self.context = ReplicaContext(
            unused,
            unused,
            Clock(),
            lambda: None,
            lambda _i, _k: None,
            lambda _i: None,
            self.workers.place,
            lambda _i: None,
            lambda _i, _e: None,
            lambda _i: None,
        )

    async def grow(self, count: int, distinct: bool = False) -> None:
        """Start instances until `count` run. `distinct`: each has a different text, like programs of many authors."""
        comment = "--" if self.language is Language.LUA else ";"
        for number in range(len(self.instances) + 1, count + 1):
            text = SOURCE[self.language] + (f" {comment} {number}\n" if distinct else "")
            manifest = Manifest("crowd", Version((1, 0, 0)), self.language)
            instance = Instance(
                number, Ref("crowd", f"d{number}"), Package(manifest, text), {}, 1, NullStore(), self.context
            )
            self.instances.append(instance)
            instance.start()
            if number % 50 == 0:
                await self._running()
        await self._running()

    async def _running(self) -> None:
        while not all(instance.state is State.RUNNING and not instance._turns for instance in self.instances):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Stop all instances and workers."""
        for instance in self.instances:
            instance.stop()
        await self.workers.close()

    def rss_bytes(self) -> int:
        """Return the resident memory of all workers, in bytes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.workers.pids())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Return the processor time of all workers and this process, in seconds."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        ticks = 0
        for pid in self.workers.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return usage.ru_utime + usage.ru_stime + ticks / os.sysconf("SC_CLK_TCK")

    def record_delays(self) -> None:
        """Record the delay of each timer from now on: from its due time to the end of its turn, in milliseconds."""
        for instance in self.instances:
            timers = instance.timers

            def take_due(
                now_s: float, now: datetime, instance: Any = instance, take: Any = timers.take_due
            ) -> list[str]:
                due_s = instance.timers.next_due_s()
                names: list[str] = take(now_s, now)
                if names:
                    instance._bench_due_s = due_s
                return names

            timers.take_due = take_due  # type: ignore[method-assign]
            ended = instance.ended

            def record_end(turn: Any, end: Any, instance: Any = instance, ended: Any = ended) -> None:
                ended(turn, end)
                if turn.key == "timer:tick" and hasattr(instance, "_bench_due_s"):
                    self.late_ms.append((self.context.clock.monotonic() - instance._bench_due_s) * 1000)

            instance.ended = record_end  # type: ignore[method-assign]


async def measure(language: Language, cache: Path, *, quick: bool) -> list[Metric]:
    """Measure memory, delay of timers and processor time."""
    name, (per_gb, late_ms) = language.value, TARGETS[language]
    crowd, found = Crowd(language, cache), list[Metric]()
    try:
        await crowd.grow(50)
        before = crowd.rss_bytes()
        await crowd.grow(550)
        each = (crowd.rss_bytes() - before) / 500
        note = f"{each / 1000:.1f} kB each, all of the same text"
        found.append(
            alone(
                f"programs_per_gb_{name}",
                [GB / each],
                unit="programs",
                better="higher",
                target=per_gb,
                n=500,
                note=note,
            )
        )
        await crowd.grow(TIMERS)
        await asyncio.sleep(1.5)
        crowd.record_delays()
        seconds, cpu_s = (8.0 if quick else 30.0), crowd.cpu_s()
        await asyncio.sleep(seconds)
        share = (crowd.cpu_s() - cpu_s) / seconds
        late = sorted(crowd.late_ms)
        key = f"timer_late_p99_ms_{name}"
        note = f"p50 {percentile(late, 0.5):.2f} ms; from the due time to the end of the handler"
        found.append(
            alone(key, [percentile(late, 0.99)], unit="ms", better="lower", target=late_ms, n=len(late), note=note)
        )
        found.append(
            alone(
                f"timers_1000_cpu_share_{name}",
                [share],
                unit="cores",
                better="lower",
                target=0.25,
                n=len(late),
                note="service and workers together; 1,000 programs, each with a timer of 1 s",
            )
        )
    finally:
        await crowd.close()
    other = Crowd(language, cache)
    try:
        await other.grow(20, distinct=True)
        before = other.rss_bytes()
        await other.grow(220, distinct=True)
        each = (other.rss_bytes() - before) / 200
        found.append(
            alone(
                f"programs_per_gb_{name}_distinct",
                [GB / each],
                unit="programs",
                better="higher",
                n=200,
                note=f"{each / 1000:.1f} kB each, all of different texts",
            )
        )
    finally:
        await other.close()
    return found
