"""The host API: the operations that a script may call, the same for every language.

Owns the operations, their arguments and the run's budget of output. How Lua and Scheme spell them is in
engines/lua/prelude.lua and engines/scheme/ygg/host.scm; docs/reference/scripting.md has the table.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from services.domain import ids
from services.domain.capability import Capability, Parameter, Schema
from services.domain.errors import Code, ContractError, InvalidRequestError, Reason, YggError
from services.domain.values import Value, a_type, text
from services.loki import naming, timing
from services.loki.errors import ProgramOnlyError, ScriptError
from services.loki.lint.contracts import Contracts
from services.loki.model import Language, Level, LogEntry, Script
from services.loki.ports import Clock, DeviceQuery, DeviceSummary, Mesh, Publisher, TwinSummary

CALL_TIMEOUT_S = 10.0
MAX_REQUIREMENTS = 16
MAX_CONCURRENT_READS = 8
READ_AGAIN_S = 0.02
MAX_DROPPED = 32
MAX_KEY_BYTES = 64
FOR_PROGRAMS = frozenset(("emit", "load", "store", "forget", "keys"))
"""Operations that only a program has; a run that asks for one is refused."""
_TOPIC = re.compile(r"[A-Za-z0-9_./-]{1,255}", re.ASCII)
Operation: TypeAlias = "Callable[..., Awaitable[Value]]"


class RunHost:
    """The host of one run. Its timeout starts at construction; `waiting_for` names an interrupted operation."""

    def __init__(
        self,
        script: Script,
        mesh: Mesh,
        publisher: Publisher,
        clock: Clock,
        emit: Callable[[LogEntry], None],
    ) -> None:
        self._script, self._mesh, self._publisher, self._clock, self._emit = script, mesh, publisher, clock, emit
        self._began = clock.monotonic()
        self._deadline = self._began + script.limits.timeout_s
        self._output_left = script.limits.output_bytes
        self.calls = 0
        self.waiting_for = ""
        self.dropped: dict[str, str] = {}
        self._kept: dict[str, Value] = {}
        self._table: dict[str, tuple[Operation, int]] = {}

    def _operations(self) -> dict[str, tuple[Operation, int]]:
        """Return the operations and the number of arguments of each."""
        return {
            "devices": (self._devices, 1),
            "device": (self._device, 1),
            "contract": (self._contract, 1),
            "call": (self._call, 4),
            "read": (self._read, 3),
            "write": (self._write, 4),
            "sensors": (self._sensors, 1),
            "sleep": (self._sleep, 1),
            "publish": (self._publish, 3),
            "time": (self._time, 0),
            "uptime": (self._uptime, 0),
            "memory": (self._memory, 1),
            "timer": (self._timer, 3),
            "cancel": (self._cancel, 1),
            "listen": (self._listen, 2),
            "own": (self._own, 1),
            "subscribe": (self._subscribe, 1),
            "subscribe_all": (self._subscribe_all, 0),
            "report": (self._report, 2),
            "emit_event": (self._emit_event, 2),
            "keep": (self._keep, 2),
            "kept": (self._kept_value, 1),
            "unkeep": (self._unkeep, 1),
            "kept_keys": (self._kept_keys, 0),
            "twin": (self._twin, 1),
            "twin_update": (self._twin_update, 2),
        }

    async def ask(self, operation: str, arguments: Sequence[Value]) -> Value:
        """Perform an operation; raise the YggError that the script receives."""
        self._table = self._table or self._operations()
        found, arity = self._table.get(operation, (None, 0))
        if found is None and operation in FOR_PROGRAMS:
            raise ProgramOnlyError(operation)
        if found is None:
            raise InvalidRequestError(f"there is no operation {ids.printable(operation)}")
        if len(arguments) > arity:
            raise InvalidRequestError(f"{operation} takes {arity} arguments, not {len(arguments)}")
        self.calls += 1
        self.waiting_for = " ".join([operation, *(a for a in arguments if isinstance(a, str))])[:120]
        answer = await found(*arguments, *[None] * (arity - len(arguments)))
        self.waiting_for = ""
        return answer

    def log(self, level: Level, text: str) -> None:
        """Log a line, stamped with the time; raise ScriptError (OUTPUT) past the limit."""
        entry = LogEntry(self._clock.now(), level, text)
        self.spend_output(entry.size_bytes)
        self._emit(entry)

    def spend_output(self, size_bytes: int) -> None:
        """Count output; raise ScriptError (OUTPUT) past the limit."""
        self._output_left -= size_bytes
        if self._output_left < 0:
            raise ScriptError(
                "OUTPUT",
                f"log and result are more than {self._script.limits.output_bytes} bytes",
                hint="Log less, or ask for a higher limit (at most 1 MiB).",
            )

    def _timeout_s(self) -> float:
        return max(0.001, min(CALL_TIMEOUT_S, self._deadline - self._clock.monotonic()))

    async def _devices(self, query: Value) -> Value:
        found = await self._mesh.devices(_query(query), self._timeout_s())
        return [summary_value(summary) for summary in found]

    async def _device(self, device_id: Value) -> Value:
        return summary_value(await self._mesh.device(_device_id(device_id), self._timeout_s()))

    async def _contract(self, device_id: Value) -> Value:
        found = await self._mesh.capabilities(_device_id(device_id), self._timeout_s())
        return [capability_value(capability) for capability in found]

    async def _call(self, device_id: Value, capability: Value, action: Value, arguments: Value) -> Value:
        given = {} if arguments is None or arguments == [] else arguments
        if not isinstance(given, dict):
            raise InvalidRequestError(f"arguments are a map from names to values, not {a_type(arguments)}")
        where = _device_id(device_id), naming.text(capability, "capability"), naming.text(action, "action")
        return {**await self._mesh.call(*where, given, self._timeout_s())}

    async def _read(self, device_id: Value, capability: Value, prop: Value) -> Value:
        where = _device_id(device_id), naming.text(capability, "capability"), naming.text(prop, "property")
        return await self._mesh.read(*where, self._timeout_s())

    async def _write(self, device_id: Value, capability: Value, prop: Value, value: Value) -> Value:
        where = _device_id(device_id), naming.text(capability, "capability"), naming.text(prop, "property")
        await self._mesh.write(*where, value, self._timeout_s())
        return None

    async def _sensors(self, device_id: Value) -> Value:
        device, limit = _device_id(device_id), asyncio.Semaphore(MAX_CONCURRENT_READS)
        capabilities = await self._mesh.capabilities(device, self._timeout_s())
        found = [
            (c.id, p.name) for c in capabilities if c.type.startswith("sensor.") for p in c.properties if p.readable
        ]

        async def read(capability: str, prop: str) -> Value:
            async with limit:
                while True:
                    try:
                        return await self._mesh.read(device, capability, prop, self._timeout_s())
                    except YggError as e:  # a device may take fewer calls at once than it has sensors
                        if e.reason != Reason.CALLS_IN_FLIGHT or self._timeout_s() <= READ_AGAIN_S:
                            raise
                    await asyncio.sleep(READ_AGAIN_S)

        values = await asyncio.gather(*(read(*where) for where in found))
        return {f"{capability}.{prop}": value for (capability, prop), value in zip(found, values, strict=True)}

    async def _sleep(self, seconds: Value) -> Value:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise InvalidRequestError("sleep takes seconds, 0 or more")
        await asyncio.sleep(seconds)
        return None

    async def _publish(self, topic: Value, value: Value, spelled: Value) -> Value:
        """Publish. `spelled` is the topic as the script wrote it, for listeners; None if it is `topic` itself."""
        written = "" if spelled is None else _spelled(spelled)
        await self._publisher.publish(self._script.token, naming.topic(topic), value, written)
        return None

    async def _time(self) -> Value:
        return self._clock.now().timestamp()

    async def _uptime(self) -> Value:
        return self._clock.monotonic() - self._began

    async def _memory(self, used_bytes: Value) -> Value:
        known: dict[str, Value] = {"used_bytes": used_bytes} if used_bytes else {}
        return {**known, "limit_bytes": self._script.limits.memory_bytes}

    # What would come after the run: a run is over with its main turn, so it is noted and dropped.

    async def _timer(self, kind: Value, name: Value, when: Value) -> Value:
        named = timing.timing(kind, name, when).name
        self._drop(f"timer {named}", f"timer {named} ({naming.text(kind, 'kind')} {text(when)})")
        return None

    async def _cancel(self, name: Value) -> Value:
        return self.dropped.pop(f"timer {naming.timer(name)}", None) is not None

    async def _listen(self, device_id: Value, path: Value) -> Value:
        device, event = await self._event(device_id, path)
        self._drop(f"{device}/{event}", f"handler of {event} of {'any device' if device == '*' else device}")
        return None

    async def _own(self, name: Value) -> Value:
        named = naming.own_event(name)
        self._drop(f"own {named}", f"handler of the event {named}")
        return None

    async def _subscribe(self, topic: Value) -> Value:
        named = ".".join(naming.topic(topic))
        self._drop(f"topic {named}", f"subscription of {named}")
        return None

    async def _subscribe_all(self) -> Value:
        self._drop("topic *", "subscription of every message")
        return None

    async def _report(self, key: Value, value: Value) -> Value:
        self._drop(f"reported {report_key(key)}", f"reported {report_key(key)}: {text(value)}")
        return None

    # Events and the store of a run, in a dialect that has them: both end with the run.

    async def _emit_event(self, name: Value, _value: Value) -> Value:
        named = naming.own_event(name)
        self._drop(f"emitted {named}", f"the event {named}")
        return None

    async def _keep(self, key: Value, value: Value) -> Value:
        name = report_key(key)
        self._not_nothing(name, value)
        self._drop(f"stored {name}", f"stored {name}")
        self._kept[name] = value
        return None

    def _not_nothing(self, key: str, value: Value) -> None:
        """Raise InvalidRequestError for nil, which a store cannot hold."""
        if value is not None:
            return
        delete = f'store.delete("{key}")' if self._script.language is Language.LUA else f'(store-delete "{key}")'
        raise InvalidRequestError(f"nothing cannot be kept under {ids.printable(key)!r}", hint=f"Forget it: {delete}")

    async def _kept_value(self, key: Value) -> Value:
        name = report_key(key)
        return [self._kept[name]] if name in self._kept else []

    async def _unkeep(self, key: Value) -> Value:
        self.dropped.pop(f"stored {report_key(key)}", None)
        return self._kept.pop(report_key(key), self) is not self

    async def _kept_keys(self) -> Value:
        return [*sorted(self._kept)]

    async def _event(self, device_id: Value, path: Value) -> tuple[str, str]:
        """Return the device, or *, and the event `temp0.over`; raise ContractError if its contract has no such event.

        An event of any device is not checked against a contract: devices that have it may come later.
        """
        device = "*" if device_id == "*" else _device_id(device_id)
        capability, event = naming.event(path)
        name = f"{capability}.{event}" if capability else event
        if capability and device != "*":
            contract = await self._contract_of(device)
            fault = Contracts({device: contract}).path(name, "event") if contract is not None else ""
            if fault:
                raise ContractError(fault, hint=f"See: ygg device show {device}")
        return device, name

    async def _contract_of(self, device_id: str) -> Sequence[Capability] | None:
        """Return None if the device has no contract yet, or if the registry is unavailable."""
        try:
            return await self._mesh.capabilities(device_id, self._timeout_s())
        except YggError as e:
            if e.reason == Reason.NO_CONTRACT or e.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                return None
            raise

    def _drop(self, key: str, words: str) -> None:
        if len(self.dropped) >= MAX_DROPPED and key not in self.dropped:
            raise InvalidRequestError(f"more than {MAX_DROPPED} timers and handlers")
        self.dropped[key] = ids.printable(words, 120)

    async def _twin(self, device_id: Value) -> Value:
        return twin_value(await self._mesh.twin(_device_id(device_id), self._timeout_s()))

    async def _twin_update(self, device_id: Value, document: Value) -> Value:
        if not isinstance(document, dict):
            raise InvalidRequestError(f"a twin is a map from capabilities to properties, not {a_type(document)}")
        return twin_value(await self._mesh.update_twin(_device_id(device_id), document, self._timeout_s()))


def failure_value(error: YggError) -> dict[str, Value]:
    """Return an error as the script sees it."""
    return {"status": error.code.name, "reason": error.reason, "message": error.message, "hint": error.hint}


def twin_value(twin: TwinSummary) -> Value:
    """Return a twin as a script sees it."""
    return {
        "revision": twin.revision,
        "desired": {**twin.desired},
        "reported": {**twin.reported},
        "delta": {**twin.delta},
    }


def report_key(value: Value) -> str:
    """Return a key of a store or of reported values; raise InvalidRequestError."""
    name = naming.text(value, "key")
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES or not name.isprintable():
        raise InvalidRequestError(f"a key has 1 to {MAX_KEY_BYTES} bytes of printable text")
    return name


def _spelled(value: Value) -> str:
    found = naming.text(value, "topic")
    if not _TOPIC.fullmatch(found):
        raise InvalidRequestError("a topic is 1 to 255 of A-Z, a-z, 0-9 and _ - / .")
    return found


def _device_id(value: Value) -> str:
    return ids.device_id(naming.text(value, "device"))


def _query(value: Value) -> DeviceQuery:
    if not isinstance(value, dict) and value not in (None, []):
        raise InvalidRequestError("a query is a map with has, selector and online")
    given: Mapping[str, Value] = value if isinstance(value, dict) else {}
    unknown = [name for name in given if name not in ("has", "selector", "online")]
    if unknown:
        raise InvalidRequestError(f"a query has no {ids.printable(unknown[0])}; it has has, selector and online")
    has = given.get("has")
    requirements = has if isinstance(has, list) else [] if has is None else [has]
    if len(requirements) > MAX_REQUIREMENTS:
        raise InvalidRequestError(f"{len(requirements)} requirements, at most {MAX_REQUIREMENTS} are allowed")
    online, selector = given.get("online"), given.get("selector", "")
    if online is not None and not isinstance(online, bool):
        raise InvalidRequestError("online is true or false")
    return DeviceQuery(
        tuple(naming.text(item, "requirement") for item in requirements), naming.text(selector, "selector"), online
    )


def summary_value(summary: DeviceSummary) -> Value:
    """Return a device as a script sees it."""
    return {
        "id": summary.id,
        "online": summary.online,
        "model": summary.model,
        "firmware": summary.firmware,
        "labels": {**summary.labels},
        "has": {**summary.has},
    }


def _schema_value(name: str, schema: Schema) -> dict[str, Value]:
    value: dict[str, Value] = {"name": name, "type": schema.type.value, "unit": schema.unit}
    if schema.minimum is not None:
        value["minimum"] = schema.minimum
    if schema.maximum is not None:
        value["maximum"] = schema.maximum
    return value


def _parameter_value(parameter: Parameter) -> Value:
    return {**_schema_value(parameter.name, parameter.schema), "optional": parameter.optional}


def capability_value(capability: Capability) -> Value:
    """Return a capability of a contract as a script sees it."""
    return {
        "id": capability.id,
        "type": capability.type,
        "version": capability.version,
        "properties": [
            {**_schema_value(p.name, p.schema), "readable": p.readable, "writable": p.writable}
            for p in capability.properties
        ],
        "actions": [
            {
                "name": a.name,
                "arguments": [_parameter_value(p) for p in a.arguments],
                "results": [_parameter_value(p) for p in a.results],
            }
            for a in capability.actions
        ],
        "events": [{"name": e.name, "fields": [_parameter_value(p) for p in e.fields]} for e in capability.events],
    }
