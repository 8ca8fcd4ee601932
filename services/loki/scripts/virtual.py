"""The surroundings of tests: timers, handlers and a store as a program has them, under a clock that tests move.

Nothing here waits. `advance` moves the clock from one due timer to the next; the harness (harness.lua, harness.scm)
calls the handlers, in the turn of the test itself, so that what goes wrong in one is the test's.

    test_advance S --> test_due: the next event or timer until then, or nothing: the clock stands at the end of S
                         +--> its handler runs (which may sleep: an advance within) --> test_handled --> test_due
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.loki import naming
from services.loki.host import Operation, RunHost, report_key
from services.loki.model import LogEntry, Script
from services.loki.ports import Clock, Mesh, Publisher
from services.loki.programs.errors import QueueFullError
from services.loki.programs.host import MAX_HANDLERS
from services.loki.programs.instance import QUEUE
from services.loki.programs.timers import Timers
from services.loki.timing import MAX_INTERVAL_S

MAX_TIMERS = 256
MAX_PUBLISHED = 1000
OURS = "ygg_"
"""Topics of the harness itself begin with this."""


class VirtualHost(RunHost):
    """As RunHost, with what programs have beside."""

    def __init__(
        self,
        script: Script,
        mesh: Mesh,
        publisher: Publisher,
        clock: Clock,
        emit: Callable[[LogEntry], None],
    ) -> None:
        super().__init__(script, mesh, publisher, clock, emit)
        self._start = clock.now()
        self._begin()

    def _begin(self) -> None:
        """Nothing of the test before is left, its time neither."""
        self._now_s = 0.0
        self._timers = Timers(MAX_TIMERS)
        self._listening: set[str] = set()
        self._busy: set[str] = set()
        self._events: deque[tuple[str, Value]] = deque()
        self._targets: list[float] = []
        self._stored: dict[str, Value] = {}
        self._published: list[Value] = []
        self._reported: dict[str, Value] = {}

    def _operations(self) -> dict[str, tuple[Operation, int]]:
        own: dict[str, tuple[Operation, int]] = {
            "emit": (self._emit_own, 2),
            "emit_event": (self._emit_own, 2),
            "store": (self._keep, 2),
            "load": (self._kept_value, 1),
            "forget": (self._unkeep, 1),
            "keys": (self._kept_keys, 0),
            "test_begin": (self._test_begin, 0),
            "test_advance": (self._test_advance, 1),
            "test_due": (self._test_due, 0),
            "test_handled": (self._test_handled, 1),
            "test_event": (self._test_event, 3),
            "test_message": (self._test_message, 2),
            "test_published": (self._test_published, 0),
            "test_reported": (self._test_reported, 0),
        }
        return super()._operations() | own

    # What programs ask.

    def _wall(self) -> datetime:
        return self._start + timedelta(seconds=self._now_s)

    async def _time(self) -> Value:
        return self._wall().timestamp()

    async def _uptime(self) -> Value:
        return self._now_s

    async def _sleep(self, seconds: Value) -> Value:
        self._now_s += _seconds(seconds)
        return None

    async def _timer(self, kind: Value, name: Value, when: Value) -> Value:
        self._timers.arm(kind, name, when, self._now_s, self._wall())
        return None

    async def _cancel(self, name: Value) -> Value:
        return self._timers.cancel(naming.timer(name))

    async def _listen(self, device_id: Value, path: Value) -> Value:
        device, event = await self._event(device_id, path)
        return self._handle(f"event:{device}/{event}")

    async def _own(self, name: Value) -> Value:
        return self._handle(f"own:{naming.own_event(name)}")

    async def _subscribe(self, topic: Value) -> Value:
        return self._handle(f"message:{'.'.join(naming.topic(topic))}")

    async def _subscribe_all(self) -> Value:
        return self._handle("message:*")

    def _handle(self, key: str) -> Value:
        if len(self._listening) >= MAX_HANDLERS:
            raise InvalidRequestError(f"more than {MAX_HANDLERS} handlers")
        self._listening.add(key)
        return None

    async def _emit_own(self, name: Value, value: Value) -> Value:
        self._post(f"own:{naming.own_event(name)}", value)
        return None

    async def _publish(self, topic: Value, value: Value, spelled: Value) -> Value:
        await super()._publish(topic, value, spelled)
        name = ".".join(naming.topic(topic))
        if not name.startswith(OURS):
            message: dict[str, Value] = {"topic": name, "value": value}
            self._published = [*self._published[-MAX_PUBLISHED + 1 :], message]
            self._post(f"message:{name}", _message(name, self._script.token, value, spelled))
        return None

    async def _report(self, key: Value, value: Value) -> Value:
        self._reported[report_key(key)] = value
        return None

    async def _keep(self, key: Value, value: Value) -> Value:
        self._stored[report_key(key)] = value
        return None

    async def _kept_value(self, key: Value) -> Value:
        name = report_key(key)
        return [self._stored[name]] if name in self._stored else []

    async def _unkeep(self, key: Value) -> Value:
        return self._stored.pop(report_key(key), self) is not self

    async def _kept_keys(self) -> Value:
        return [*sorted(self._stored)]

    def _post(self, key: str, value: Value) -> None:
        if key not in self._listening:
            return
        if len(self._events) >= QUEUE:
            raise QueueFullError("too many events wait already", hint="Let advance(0) handle them in between.")
        self._events.append((key, value))

    # Requests of the harness.

    async def _test_begin(self) -> Value:
        self._begin()
        return None

    async def _test_advance(self, seconds: Value) -> Value:
        self._targets.append(self._now_s + _seconds(seconds))
        return None

    async def _test_due(self) -> Value:
        """Return the next event as {key, value}, the clock moved to it; None once nothing is due within the advance."""
        until_s = max(self._now_s, self._targets[-1] if self._targets else 0.0)
        while not self._events:
            due_s = self._timers.next_due_s()
            if due_s is None or due_s > until_s:
                self._now_s = until_s
                if self._targets:
                    self._targets.pop()
                return None
            self._now_s = max(self._now_s, due_s)
            for name in self._timers.take_due(self._now_s, self._wall()):
                if f"timer:{name}" not in self._busy:  # as programs do: one that is due while it runs is left out
                    self._events.append((f"timer:{name}", None))
        key, value = self._events.popleft()
        self._busy.add(key)
        return {"key": key, **({} if value is None else {"value": value})}

    async def _test_handled(self, key: Value) -> Value:
        self._busy.discard(str(key))
        return None

    async def _test_event(self, path: Value, fields: Value, device_id: Value) -> Value:
        """Emit an event of a device, by default the default one; checked like a handler of it."""
        device, event = await self._event(device_id or self._script.device_id, path)
        capability, _, name = event.rpartition(".")
        content: dict[str, Value] = {
            "device": device,
            "capability": capability,
            "name": name,
            "fields": fields if isinstance(fields, dict) else {},
            "time": self._wall().timestamp(),
        }
        for key in (f"event:{device}/{event}", f"event:*/{event}"):
            self._post(key, content)
        return None

    async def _test_message(self, topic: Value, value: Value) -> Value:
        """Deliver a message of another program; topics of steel may have capitals."""
        name = ".".join(naming.topic(naming.text(topic, "topic").lower()))
        for key in (f"message:{name}", "message:*"):
            self._post(key, _message(name, "another", value, topic))
        return None

    async def _test_published(self) -> Value:
        return list(self._published)

    async def _test_reported(self) -> Value:
        return {**self._reported}


def _message(topic: str, sender: str, value: Value, spelled: Value) -> dict[str, Value]:
    message: dict[str, Value] = {"topic": topic, "from": sender, "value": value}
    return message if spelled in (None, topic) else {**message, "spelled": spelled}


def _seconds(value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_INTERVAL_S:
        raise InvalidRequestError("time goes on by 0 s to a year")
    return float(value)
