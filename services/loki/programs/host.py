"""The host API of a turn: that of a run, plus timers, handlers, own events and the store of the instance.

Owns the operations. The state between turns is owned by `instance`; all turns of an instance share it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from services.domain.errors import InvalidRequestError
from services.domain.values import Value
from services.loki import naming
from services.loki.engines import wire
from services.loki.host import Operation, RunHost, report_key
from services.loki.model import Level
from services.loki.programs.errors import QueueFullError, StoreFullError, TooManyHandlersError

if TYPE_CHECKING:
    from services.loki.programs.instance import Instance

MAX_HANDLERS = 128
MAX_KEY_BYTES = 64


class ProgramTurnHost(RunHost):
    """The surroundings of one turn."""

    def __init__(self, instance: Instance) -> None:
        context = instance.context
        super().__init__(instance.script, context.mesh, context.publisher, context.clock, lambda _entry: None)
        self._instance = instance

    def _operations(self) -> dict[str, tuple[Operation, int]]:
        own: dict[str, tuple[Operation, int]] = {
            "timer": (self._arm, 3),
            "cancel": (self._disarm, 1),
            "listen": (self._listen_to, 2),
            "own": (self._own_event, 1),
            "subscribe": (self._subscribe_to, 1),
            "subscribe_all": (self._subscribe_to_all, 0),
            "report": (self._report_own, 2),
            "emit": (self._emit_own, 2),
            "store": (self._store, 2),
            "load": (self._load, 1),
            "forget": (self._forget, 1),
            "keys": (self._keys, 0),
            "uptime": (self._program_uptime, 0),
        }
        return super()._operations() | own

    @property
    def deadline_s(self) -> float:
        """When the turn's time is over; sleeping puts it off."""
        return self._deadline

    async def ask(self, operation: str, arguments: Sequence[Value]) -> Value:
        """Perform an operation; raise the YggError that the program receives, FencedError if fenced."""
        await self._instance.admit()
        return await super().ask(operation, arguments)

    def log(self, level: Level, text: str) -> None:
        """A line of the instance's log, within its bytes a minute."""
        self._instance.log(level, text)

    def spend_output(self, size_bytes: int) -> None:
        """Results of turns go nowhere but to `eval`; frames are bounded."""

    async def _sleep(self, seconds: Value) -> Value:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise InvalidRequestError("sleep takes seconds, 0 or more")
        self._deadline += seconds
        await asyncio.sleep(seconds)
        return None

    async def _arm(self, kind: Value, name: Value, when: Value) -> Value:
        self._instance.arm(kind, name, when)
        return None

    async def _disarm(self, name: Value) -> Value:
        return self._instance.disarm(naming.timer(name))

    async def _listen_to(self, device_id: Value, path: Value) -> Value:
        device, event = await self._event(device_id, path)
        self._handle(f"event:{device}/{event}")
        return None

    async def _subscribe_to(self, topic: Value) -> Value:
        self._handle(f"message:{'.'.join(naming.topic(topic))}")
        return None

    async def _subscribe_to_all(self) -> Value:
        self._handle("message:*")
        return None

    async def _report_own(self, key: Value, value: Value) -> Value:
        self._instance.report(report_key(key), value)
        return None

    async def _own_event(self, name: Value) -> Value:
        self._handle(f"own:{naming.own_event(name)}")
        return None

    def _handle(self, key: str) -> None:
        if len(self._instance.listening) >= MAX_HANDLERS and key not in self._instance.listening:
            raise TooManyHandlersError(f"{MAX_HANDLERS} handlers are there, more are not allowed")
        self._instance.listen(key)

    async def _emit_own(self, name: Value, value: Value) -> Value:
        event = naming.own_event(name)
        key = f"own:{event}"
        if key not in self._instance.listening:
            return None
        if not self._instance.post(key, f"event {event}", wire.dump(wire.to_json(value)).decode()):
            raise QueueFullError(
                "too many events wait for this program already",
                hint="Emit less, or let timers do it in their own time.",
            )
        return None

    async def _store(self, key: Value, value: Value) -> Value:
        name = _key(key)
        self._not_nothing(name, value)
        await self._change(lambda entries: entries.__setitem__(name, value))
        return None

    async def _load(self, key: Value) -> Value:
        entries, name = self._instance.store.entries, _key(key)
        return [entries[name]] if name in entries else []

    async def _forget(self, key: Value) -> Value:
        name = _key(key)
        if name not in self._instance.store.entries:
            return False
        await self._change(lambda entries: entries.__delitem__(name))
        return True

    async def _keys(self) -> Value:
        return [*sorted(self._instance.store.entries)]

    async def _change(self, change: Callable[[dict[str, Value]], None]) -> None:
        async with self._instance.storing:
            entries = dict(self._instance.store.entries)
            change(entries)
            size, most = len(wire.dump(wire.to_json(entries))), self._instance.package.manifest.limits.store_bytes
            if size > most and size > self._instance.store.size_bytes:
                raise StoreFullError(
                    f"the store would hold {size} bytes, {most} are allowed",
                    hint="Delete keys, or raise limits.store_bytes in the manifest.",
                )
            self._instance.fence()
            await self._instance.store.write(entries)

    async def _program_uptime(self) -> Value:
        return self._instance.uptime_s()


def _key(value: Value) -> str:
    name = naming.text(value, "key")
    if not 0 < len(name.encode()) <= MAX_KEY_BYTES:
        raise InvalidRequestError(f"a key has 1 to {MAX_KEY_BYTES} bytes")
    return name
