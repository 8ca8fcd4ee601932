"""One running instance: its turns, event queue, timers and error budget. `lifecycle` draws the states.

An instance runs a turn for each event in order. Up to TURNS turns are open, all but one of them waiting for the host;
further events wait in a queue of length QUEUE, and events beyond it are dropped and counted. A timer that is due while
its last turn is still open is skipped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.domain.errors import YggError
from services.domain.values import Value
from services.loki.engines import wire
from services.loki.errors import ScriptError
from services.loki.model import Level, Limits, LogEntry, Script
from services.loki.ports import Clock, Mesh, Publisher
from services.loki.programs import links
from services.loki.programs.alarms import Alarms
from services.loki.programs.errors import FencedError, NotRunningError, ReportFullError, WorkerLostError
from services.loki.programs.host import ProgramTurnHost
from services.loki.programs.lifecycle import SUSPENSION_S, ErrorBudget, State, Verdict
from services.loki.programs.model import Package
from services.loki.programs.placement import Ref
from services.loki.programs.ports import ProgramWorker, Store, TurnDone, TurnEnd, TurnEnded
from services.loki.programs.timers import Timers

TURNS, QUEUE, HISTORY, LINES = 8, 64, 100, 500
REPORTED_KEYS, REPORTED_BYTES = 32, 4096
RESTART_S = 1.0
ERROR_WINDOW_S = 600.0
MAX_THROTTLE_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ReplicaContext:
    """The dependencies that all instances of a replica share. `fence` raises FencedError once the lease has expired."""

    mesh: Mesh
    publisher: Publisher
    clock: Clock
    fence: Callable[[], None]
    listen: Callable[[Instance, str], None]
    forget: Callable[[Instance], None]
    place: Callable[[Instance], None]
    changed: Callable[[Instance], None]
    log: Callable[[Instance, LogEntry], None]
    failed: Callable[[Instance], None]
    alarms: Alarms = field(init=False)

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.clock)


@dataclass(slots=True)
class Call:
    """A finished turn, for the history."""

    start_time: datetime
    cause: str
    duration_s: float
    host_calls: int
    reason: str = ""
    message: str = ""


@dataclass(slots=True)
class Statistics:
    """Counts since the instance was started on this replica."""

    turns: int = 0
    errors: int = 0
    dropped: int = 0
    host_calls: int = 0
    turn_time_s: float = 0.0
    longest_s: float = 0.0
    memory_bytes: int = 0


@dataclass(slots=True)
class _Event:
    key: str
    cause: str
    value: str


@dataclass(slots=True, eq=False)
class _Turn:
    """One turn. Its host is created when the worker first calls one."""

    instance: Instance
    cause: str
    key: str
    began_s: float
    began: datetime
    first: bool = False
    counts: bool = True
    number: int = 0
    host: ProgramTurnHost | None = None
    expiry: asyncio.TimerHandle | None = None
    expired: bool = False

    async def ask(self, operation: str, arguments: Any) -> Value:
        """See ports.Host."""
        if self.host is None:
            self.host = ProgramTurnHost(self.instance)
        self.instance.waits(self)
        return await self.host.ask(operation, arguments)

    def log(self, level: Level, text: str) -> None:
        """See ports.Host."""
        self.instance.log(level, text)

    def spend_output(self, size_bytes: int) -> None:
        """Do nothing: frames are bounded. See ports.Host."""

    def ended(self, end: TurnEnd) -> None:
        """See ports.TurnEnded."""
        self.instance.ended(self, end)

    @property
    def waiting_for(self) -> str:
        """See ports.Host."""
        return self.host.waiting_for if self.host else ""


@dataclass(slots=True)
class _Budgets:
    """Token buckets, refilled over time."""

    calls: float
    log_bytes: float
    at_s: float
    muted: int = 0


class Instance:
    """An instance that this replica runs."""

    def __init__(
        self,
        number: int,
        ref: Ref,
        package: Package,
        arguments: dict[str, Value],
        epoch: int,
        store: Store,
        context: ReplicaContext,
        packages: Sequence[Package] = (),
    ) -> None:
        manifest = package.manifest
        self._packages = packages
        self.number, self.ref, self.package, self.epoch, self.store, self.context = (
            number,
            ref,
            package,
            epoch,
            store,
            context,
        )
        self.script = Script(
            package.source,
            manifest.language,
            name=package.label,
            device_id=ref.device,
            arguments=arguments,
            limits=Limits(manifest.limits.run_timeout_s, manifest.limits.memory_bytes, 1 << 40),
        )
        self.state = State.LOADED
        self.problem = self.last_error = ""
        self.error_time: datetime | None = None
        self.start_time: datetime | None = None
        self.restarts = 0
        self.quarantined = False
        self.worker: ProgramWorker | None = None
        self.timers = Timers(manifest.limits.timers)
        self.listening: set[str] = set()
        self.reported: dict[str, Value] = {}
        self.storing = asyncio.Lock()
        self.statistics = Statistics()
        self.history: deque[Call] = deque(maxlen=HISTORY)
        self.lines: deque[LogEntry] = deque(maxlen=LINES)
        self._budget = ErrorBudget()
        self._queue: deque[_Event] = deque()
        self._turns: set[_Turn] = set()
        self._busy_keys: set[str] = set()
        self._started_s = 0.0
        self._last_error_s = 0.0
        self._later: asyncio.TimerHandle | None = None
        self.since_s = now_s = context.clock.monotonic()
        """Return the time at which it entered its state."""
        self._tokens = _Budgets(
            2.0 * manifest.limits.host_calls_per_second, manifest.limits.log_bytes_per_minute, now_s
        )

    # Lifecycle.

    def start(self) -> None:
        """Request a worker, which calls `placed`."""
        self._to(State.STARTING)
        self.context.place(self)

    def placed(self, worker: ProgramWorker) -> None:
        """Begin the first turn on the worker."""
        if self.state is not State.STARTING or self.worker is not None:
            return
        self.worker = worker
        worker.programs.add(self.number)
        self._started_s, self.start_time = self.context.clock.monotonic(), self.context.clock.now()
        limits = self.package.manifest.limits
        request = {
            "do": "start",
            "name": self.package.label[-40:],
            "source": self.package.source,
            "device": self.ref.device,
            "args": wire.dump(wire.to_json(dict(self.script.arguments))).decode(),
            "memory_bytes": limits.memory_bytes,
            **links.job(self.package, self._packages),
        }
        self._begin(request, "start", first=True)

    def not_placed(self, error: YggError) -> None:
        """Retry the placement soon, because no worker is available."""
        self.problem = error.message
        self._restart(RESTART_S)

    def stop(self, state: State = State.STOPPED, problem: str = "") -> None:
        """Stop it immediately; turns that wait for the host are dropped."""
        self._drop()
        self.problem = problem
        self._to(state)

    def restart(self) -> None:
        """Restart it with a full error budget."""
        self._drop()
        self._budget, self.problem, self.quarantined = ErrorBudget(), "", False
        self.start()

    def _drop(self) -> None:
        worker, self.worker = self.worker, None
        self.timers.clear()
        self.context.forget(self)
        self.listening.clear()
        self._queue.clear()
        self._busy_keys.clear()
        self.context.alarms.set(self.number, None, self._due)
        self.context.alarms.on_step(self.number, None)
        if self._later is not None:
            self._later.cancel()
        self._later = None
        turns, self._turns = self._turns, set()
        for turn in turns:
            if turn.expiry is not None:
                turn.expiry.cancel()
        if worker is not None:
            worker.drop(self.number)

    def _to(self, state: State) -> None:
        if state is not self.state:
            self.state, self.since_s = state, self.context.clock.monotonic()
            self.context.changed(self)

    def _restart(self, delay_s: float) -> None:
        self._drop()
        self._to(State.STARTING)
        self.restarts += 1
        self._later = asyncio.get_running_loop().call_later(delay_s, self.context.place, self)

    # Turns.

    def post(self, key: str, cause: str, value: str = "null") -> bool:
        """Queue an event; return False if the queue is full or the instance accepts no events."""
        if self.state not in (State.RUNNING, State.STARTING):
            return False
        if len(self._queue) >= QUEUE:
            self.statistics.dropped += 1
            return False
        self._queue.append(_Event(key, cause, value))
        self._pump()
        return True

    def _pump(self) -> None:
        while (
            self._queue and len(self._turns) < TURNS and self.worker is not None and self.state is not State.SUSPENDED
        ):
            try:
                self.context.fence()
            except FencedError:
                return
            event, clock = self._queue.popleft(), self.context.clock
            turn = self._turn(_Turn(self, event.cause, event.key, clock.monotonic(), clock.now()))
            turn.number = self.worker.event(self.number, event.key, event.value, turn, turn.ended)

    def _begin(
        self, request: dict[str, Any], cause: str, *, first: bool = False, ended: TurnEnded | None = None
    ) -> None:
        """Run a turn that is not an event; errors are reported to `ended` if given, and then do not count."""
        clock = self.context.clock
        if self.worker is None:
            raise NotRunningError(f"{self.ref.key} does not run now: it is {self.state.name.lower()}")
        turn = self._turn(_Turn(self, cause, cause, clock.monotonic(), clock.now(), first, counts=ended is None))

        def both(end: TurnEnd) -> None:
            turn.ended(end)
            if ended is not None:
                ended(end)

        turn.number = self.worker.begin(self.number, request, turn, both)

    def _turn(self, turn: _Turn) -> _Turn:
        self._turns.add(turn)
        self._busy_keys.add(turn.key)
        return turn

    def waits(self, turn: _Turn) -> None:
        """Record that a turn waits for the host: a first turn that got so far counts as started.

        Its time is watched from here on; while it computes, the worker's limit of a slice holds.
        """
        if turn.expiry is None:
            limit_s = self.package.manifest.limits.run_timeout_s
            turn.expiry = asyncio.get_running_loop().call_later(limit_s, self._expire, turn)
        if turn.first and self.state is State.STARTING:
            self._to(State.RUNNING)
            self._pump()

    def _expire(self, turn: _Turn) -> None:
        left_s = turn.host.deadline_s - self.context.clock.monotonic() if turn.host else 0.0
        loop = asyncio.get_running_loop()
        if left_s > 0:
            turn.expiry = loop.call_later(left_s, self._expire, turn)
        elif turn in self._turns and self.worker is not None:
            turn.expired = self.worker.stop_turn(turn.number)
            if not turn.expired:
                turn.expiry = loop.call_later(0.25, self._expire, turn)  # it computes, which has another limit

    def ended(self, turn: _Turn, end: TurnEnd) -> None:
        """Record the end of a turn."""
        if turn not in self._turns:
            return  # it was dropped with the program
        self._turns.discard(turn)
        self._busy_keys.discard(turn.key)
        if turn.expiry is not None:
            turn.expiry.cancel()
        if isinstance(end, WorkerLostError):
            self._lost(turn, end)
            return
        failure = None
        if isinstance(end, TurnDone):
            self.statistics.memory_bytes = end.memory_bytes or self.statistics.memory_bytes
        else:
            failure = self._failure(turn, end)
        self._account(turn, failure)
        if failure is not None and turn.counts and failure.reason not in ("STOPPED", "LEASE_LOST"):
            self._on_error(turn, failure)
        elif failure is None:
            if not turn.first and turn.counts:
                self._budget.success()
            if turn.first and self.state is State.STARTING:
                self._to(State.RUNNING)
        self._pump()

    def _failure(self, turn: _Turn, error: YggError) -> YggError:
        if not turn.expired:
            return error
        waiting = f" (waiting for {turn.waiting_for})" if turn.waiting_for else ""
        limit = self.package.manifest.limits.run_timeout_s
        return ScriptError("TIMEOUT", f"the turn did not end within {limit:g} s{waiting}")

    def _account(self, turn: _Turn, failure: YggError | None) -> None:
        took_s = self.context.clock.monotonic() - turn.began_s
        calls = turn.host.calls if turn.host else 0
        seen = self.statistics
        seen.turns += 1
        seen.host_calls += calls
        seen.turn_time_s += took_s
        seen.longest_s = max(seen.longest_s, took_s)
        call = Call(turn.began, turn.cause, took_s, calls)
        if failure is not None:
            seen.errors += 1
            call.reason, call.message = failure.reason, failure.message
        self.history.append(call)

    def _on_error(self, turn: _Turn, failure: YggError) -> None:
        now_s = self.context.clock.monotonic()
        if now_s - self._last_error_s > ERROR_WINDOW_S:
            self._budget.success()
        self._last_error_s, self.error_time = now_s, self.context.clock.now()
        line = getattr(failure, "line", 0)
        where = f"{self.package.label}:{line}: " if line else ""
        self.last_error = f"{turn.cause}: {where}{failure.reason}: {failure.message}"[:600]
        self.log(Level.ERROR, self.last_error, ours=True)
        self.context.failed(self)
        self.context.changed(self)  # even if the state is unchanged, as for a restart
        verdict = self._budget.error()
        if verdict is Verdict.FAIL:
            self.stop(State.FAILED, f"stopped by errors after a suspension; the last: {self.last_error}")
        elif verdict is Verdict.SUSPEND:
            self._suspend(turn.first)
        elif turn.first:
            self._start_failed()

    def _start_failed(self) -> None:
        if self.package.manifest.auto_restart:
            self._restart(RESTART_S)
        else:
            self.stop(State.FAILED, f"its first turn failed: {self.last_error}")

    def _suspend(self, restart: bool) -> None:
        self.problem = f"three errors in a row: suspended for {SUSPENSION_S:g} s; the last: {self.last_error}"
        self.log(Level.WARNING, self.problem, ours=True)
        self._queue.clear()
        if restart:
            self._drop()
        self._to(State.SUSPENDED)
        self._later = asyncio.get_running_loop().call_later(SUSPENSION_S, self._resume, restart)

    def _resume(self, restart: bool) -> None:
        self.problem = ""
        self._later = None
        if restart or self.worker is None:
            self._to(State.STARTING)
            self.context.place(self)
        else:
            self._to(State.RUNNING)
            self._ring()

    def _lost(self, turn: _Turn, lost: WorkerLostError) -> None:
        """The worker exited: the program that crashed it restarts alone, the others at once and without penalty."""
        for other in self._turns:
            if other.expiry is not None:
                other.expiry.cancel()
        self._turns.clear()
        if lost.crashed_by != self.number:
            self._account(turn, ScriptError("STOPPED", "another program crashed its worker"))
            self.worker_gone(crashed=False)
            return
        failure = ScriptError("TIMEOUT" if "computed" in lost.how else "CRASH", f"it crashed its worker: {lost.how}")
        self._account(turn, failure)
        self.quarantined = True
        self.worker = None
        self._on_worker_lost(failure, turn)

    def _on_worker_lost(self, failure: ScriptError, turn: _Turn) -> None:
        first = _Turn(self, turn.cause, turn.key, turn.began_s, turn.began, first=True)
        self._on_error(first, failure)  # restart it, even if it had started before

    def worker_gone(self, *, crashed: bool) -> None:
        """Restart after the worker exited, unless this program crashed it."""
        if self.worker is None or crashed:
            return
        self.worker = None
        if self.state is State.SUSPENDED:
            return  # it restarts when the suspension ends
        if not self.package.manifest.auto_restart:
            self.stop(State.FAILED, "another program crashed its worker, and its restart policy does not restart it")
            return
        self._restart(0.0)

    # Queries.

    async def ask(self, request: dict[str, Any], cause: str) -> Value:
        """Run `eval`, `globals` or `set`; raise NotRunningError, ScriptError or FencedError."""
        self.context.fence()
        if self.worker is None or self.state not in (State.RUNNING, State.SUSPENDED, State.STARTING):
            raise NotRunningError(
                f"{self.ref.key} does not run now: it is {self.state.name.lower()}",
                hint=self.problem or "See: ygg program show",
            )
        answer: asyncio.Future[Value] = asyncio.get_running_loop().create_future()

        def ended(end: TurnEnd) -> None:
            if not answer.done():
                answer.set_result(end.value) if isinstance(end, TurnDone) else answer.set_exception(end)

        self._begin(request, cause, ended=ended)
        try:
            return await answer
        except WorkerLostError as e:
            raise ScriptError("CRASH", f"its worker ended meanwhile: {e.how}") from e

    def uptime_s(self) -> float:
        """Return the seconds since its first turn began."""
        return self.context.clock.monotonic() - self._started_s if self.worker is not None else 0.0

    # Host operations.

    def fence(self) -> None:
        """Raise FencedError once another replica may have taken over."""
        if not self.state.is_active:
            raise FencedError("the program was stopped")
        self.context.fence()

    async def admit(self) -> None:
        """Wait until the rate limit permits the operation; a burst is twice the limit."""
        self.fence()
        limits = self.package.manifest.limits
        tokens = self._refilled()
        tokens.calls -= 1
        if tokens.calls < 0:
            await asyncio.sleep(min(MAX_THROTTLE_S, -tokens.calls / limits.host_calls_per_second))
            self.fence()

    def _refilled(self) -> _Budgets:
        limits, tokens, now_s = self.package.manifest.limits, self._tokens, self.context.clock.monotonic()
        passed_s, tokens.at_s = now_s - tokens.at_s, now_s
        a_second, a_minute = limits.host_calls_per_second, limits.log_bytes_per_minute
        tokens.calls = min(2.0 * a_second, tokens.calls + passed_s * a_second)
        tokens.log_bytes = min(a_minute, tokens.log_bytes + passed_s * a_minute / 60)
        return tokens

    def log(self, level: Level, text: str, *, ours: bool = False) -> None:
        """Log a line. Lines over the limit of bytes per minute are dropped, which is logged once."""
        limits, tokens, clock = self.package.manifest.limits, self._refilled(), self.context.clock
        entry = LogEntry(clock.now(), level, text)
        if not ours and entry.size_bytes > tokens.log_bytes:
            tokens.muted += 1
            if tokens.muted == 1:
                said = f"more than {limits.log_bytes_per_minute} bytes of log a minute: lines are left out"
                self._line(LogEntry(clock.now(), Level.WARNING, said))
            return
        if tokens.muted and not ours:
            self._line(LogEntry(clock.now(), Level.WARNING, f"{tokens.muted} lines were left out"))
            tokens.muted = 0
        tokens.log_bytes -= entry.size_bytes
        self._line(entry)

    def _line(self, entry: LogEntry) -> None:
        self.lines.append(entry)
        self.context.log(self, entry)

    def report(self, key: str, value: Value) -> None:
        """Set a reported key of the program; None removes it. Raise ReportFullError."""
        after: dict[str, Value] = {name: kept for name, kept in self.reported.items() if name != key}
        if value is not None:
            after[key] = value
        size = len(wire.dump(wire.to_json(after)))
        if len(after) > REPORTED_KEYS or size > REPORTED_BYTES:
            raise ReportFullError(
                f"{len(after)} keys of {size} bytes would be reported; {REPORTED_KEYS} of {REPORTED_BYTES} are allowed",
                hint="Report under fewer keys, or shorter values.",
            )
        if self.reported != after:
            self.reported = after
            self.context.changed(self)

    def listen(self, key: str) -> None:
        """Subscribe to the events of a key."""
        self.listening.add(key)
        self.context.listen(self, key)

    # Timers.

    def arm(self, kind: Value, name: Value, when: Value) -> None:
        """Arm a timer; raise InvalidRequestError, InvalidIdError or TooManyTimersError."""
        self.timers.arm(kind, name, when, self.context.clock.monotonic(), self.context.clock.now())
        if kind == "cron":
            self.context.alarms.on_step(self.number, self._stepped)
        self._ring()

    def _stepped(self) -> None:
        clock = self.context.clock
        self.timers.resync(clock.monotonic(), clock.now())
        self._ring()

    def disarm(self, name: str) -> bool:
        """Disarm a timer; return whether it was armed."""
        was = self.timers.cancel(name)
        self._ring()
        return was

    def _ring(self) -> None:
        self.context.alarms.set(self.number, self.timers.next_due_s(), self._due)

    def _due(self) -> None:
        for name in self.timers.take_due(self.context.clock.monotonic() + 0.0005, self.context.clock.now()):
            key = f"timer:{name}"
            if key in self._busy_keys or self.state is State.SUSPENDED:
                self.statistics.dropped += 1
            else:
                self.post(key, f"timer {name}")
        self._ring()
