"""Queries to a running instance on any replica: eval, globals, statistics, history, the log.

Any replica accepts a query and the replica that runs the instance answers it. Owns no state.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from services.domain import ids
from services.domain.errors import Reason, YggError
from services.domain.values import Value, check
from services.loki.engines import wire
from services.loki.ports import Clock
from services.loki.programs.errors import InvalidPackageError, NotRunningError, ProgramUnknownError
from services.loki.programs.host import ProgramTurnHost
from services.loki.programs.instance import Instance
from services.loki.programs.lifecycle import State
from services.loki.programs.manager import Manager
from services.loki.programs.placement import Ref
from services.loki.programs.ports import Peers
from services.loki.programs.service import Programs

MAX_EVAL_BYTES = 64 * 1024
ASK_TIMEOUT_S, STARTING_S = 30.0, 5.0
_NAME = re.compile(r"[^\s\x00]{1,100}\Z")


class InstanceQueries:
    """Sends queries to other replicas, and answers queries for instances of this replica."""

    def __init__(self, programs: Programs, manager: Manager, peers: Peers, clock: Clock) -> None:
        self._programs, self._manager, self._peers, self._clock = programs, manager, peers, clock

    def _ref(self, deployment_id: str, device_id: str) -> Ref:
        self._programs.deployment(deployment_id)
        refs = [status.ref for status in self._programs.instances(deployment_id)]
        if device_id or Ref(deployment_id) in refs:
            ref = Ref(deployment_id, device_id)
            if ref not in refs:
                raise ProgramUnknownError(f"{deployment_id} has no instance on {ids.printable(device_id)}")
            return ref
        if len(refs) != 1:
            raise ProgramUnknownError(
                f"{deployment_id} has {len(refs)} instances; say which", hint="Name the device:  --device ID"
            )
        return refs[0]

    async def ask(self, deployment_id: str, device_id: str, method: str, what: dict[str, Value]) -> dict[str, Value]:
        """Query an instance on any replica: eval, globals, set, store, keep, statistics, history, lines.

        Waits up to STARTING_S seconds for an instance that is about to start.
        """
        ref, body = self._ref(deployment_id, device_id), wire.dump(wire.to_json(what))
        until_s = self._clock.monotonic() + STARTING_S
        while self._starting(ref) and self._clock.monotonic() < until_s:  # noqa: ASYNC110 - three places would have to notify
            await asyncio.sleep(0.02)
        if ref in self._manager.local:
            answer = await self.answer(method, ref, body)
        else:
            status = self._programs.status(ref)
            if status is None or not status.replica or status.replica == self._manager.replica:
                state = status.state.name.lower() if status else "not started yet"
                hint = status.problem if status else ""
                raise NotRunningError(f"{ref.key} does not run now: it is {state}", hint=hint)
            answer = await self._peers.ask(status.replica, method, ref, body, ASK_TIMEOUT_S)
        return cast("dict[str, Value]", wire.from_json(wire.load(answer)))

    def _starting(self, ref: Ref) -> bool:
        instance, status = self._manager.local.get(ref), self._programs.status(ref)
        if instance is not None:
            return instance.worker is None and instance.state is State.STARTING
        return status is None or status.state in (State.LOADED, State.STARTING)

    async def answer(self, method: str, ref: Ref, body: bytes) -> bytes:
        """Answer a query to an instance of this replica, from here or from another replica."""
        instance = self._manager.local.get(ref)
        if instance is None:
            raise NotRunningError(f"{ref.key} does not run here any more", hint="Try again in a moment.")
        what = cast("dict[str, Any]", wire.from_json(wire.load(body)))
        found = await self._asked(instance, method, what)
        return wire.dump(wire.to_json(found))

    async def _asked(self, instance: Instance, method: str, what: dict[str, Any]) -> dict[str, Value]:
        if method == "eval":
            source = str(what["source"])
            if len(source.encode()) > MAX_EVAL_BYTES or not source.strip():
                raise InvalidPackageError(f"a text of 1 to {MAX_EVAL_BYTES} bytes is evaluated")
            return {"value": await instance.ask({"do": "eval", "key": source, "value": ""}, "eval")}
        if method == "globals":
            names = wire.dump(wire.to_json(list(what["names"]))).decode()
            return {"globals": await instance.ask({"do": "globals", "key": "", "value": names}, "globals")}
        if method == "set":
            name = str(what["name"])
            if not _NAME.match(name):
                raise InvalidPackageError("a global has a name without spaces, at most 100 characters long")
            value = wire.dump(wire.to_json(check(what["value"]))).decode()
            await instance.ask({"do": "set", "key": name, "value": value}, f"set {name}")
            return {}
        if method == "keep":
            return await _kept(instance, str(what["key"]), what.get("value"))
        return _seen(instance, method, what)


class UnknownMethodError(YggError, reason=Reason.UNKNOWN_METHOD):
    """A replica asked for something that this version does not know."""


def _seen(instance: Instance, method: str, what: dict[str, Any]) -> dict[str, Value]:
    """Answer a query that needs no turn."""
    if method == "store":
        limit = instance.package.manifest.limits.store_bytes
        return {"entries": {**instance.store.entries}, "size_bytes": instance.store.size_bytes, "limit_bytes": limit}
    if method == "statistics":
        return _statistics(instance)
    if method == "history":
        return {"calls": [_call(call) for call in list(instance.history)[::-1][: int(what["limit"])]]}
    if method == "lines":
        count = int(what["tail"])
        lines = list(instance.lines)[-count:] if count else []
        return {"lines": [[line.time.timestamp(), line.level.value, line.message] for line in lines]}
    raise UnknownMethodError(f"an instance cannot be asked for {ids.printable(method)}")


async def _kept(instance: Instance, key: str, value: Value) -> dict[str, Value]:
    """Write the store like the program; None deletes the key."""
    host, existed = ProgramTurnHost(instance), key in instance.store.entries
    if value is None:
        await host.ask("forget", [key])
    else:
        await host.ask("store", [key, check(value)])
    return {"existed": existed}


def _statistics(instance: Instance) -> dict[str, Value]:
    seen = instance.statistics
    return {
        "turns": seen.turns,
        "errors": seen.errors,
        "dropped_events": seen.dropped,
        "host_calls": seen.host_calls,
        "turn_time_s": seen.turn_time_s,
        "longest_s": seen.longest_s,
        "memory_bytes": seen.memory_bytes,
        "store_bytes": instance.store.size_bytes,
        "timers": len(instance.timers),
        "uptime_s": instance.uptime_s(),
    }


def _call(call: Any) -> dict[str, Value]:
    return {
        "start_time": call.start_time.timestamp(),
        "cause": call.cause,
        "duration_s": call.duration_s,
        "host_calls": call.host_calls,
        "reason": call.reason,
        "message": call.message,
    }
