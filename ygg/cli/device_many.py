"""Calls of an action: what was typed, on many devices at once, and how answers are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ygg import values
from ygg.cli import select
from ygg.cli.state import State
from ygg.exits import Exit, UsageError
from ygg.output import safe

if TYPE_CHECKING:
    from services.domain.capability import Action
    from ygg.client import Mesh
    from yggdrasil.jotunheim.v1 import bridge_pb2

_SPARE_S = 30.0
_MAX_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call as it was typed; arguments are not read yet."""

    devices: list[str]
    capability: str
    action: str
    arguments: dict[str, str]

    @classmethod
    def of(cls, words: list[str]) -> Wanted:
        """`["porch-1", "led0.blink", "times=3"]`. Raises UsageError."""
        for at, word in enumerate(words):
            if "." in word.partition("=")[0]:
                capability, action = values.member(word)
                return cls(words[:at], capability, action, values.assignments(words[at + 1 :]))
        raise UsageError("no action is named", hint="It is CAPABILITY.ACTION, such as led0.blink.")


@dataclass(frozen=True, slots=True)
class Which:
    """Which devices beside those named, how many at a time, and the time for each in seconds."""

    selector: str
    has: list[str]
    at_once: int
    timeout_s: float


def call(st: State, mesh: Mesh, wanted: Wanted, which: Which) -> int:
    """Calls many devices, prints each answer as it comes; returns the exit code."""
    from services.chassis.codec import values_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    selector = which.selector or ("*" if which.has and not wanted.devices else "")
    action = _known_action(mesh, wanted, selector, which.has)
    given = wanted.arguments
    arguments = (
        values.arguments(given, action.arguments)
        if action
        else {name: values.guess(text) for name, text in given.items()}
    )
    request = bridge_pb2.InvokeManyRequest(
        device_ids=wanted.devices,
        selector=selector,
        has=which.has,
        capability=wanted.capability,
        action=wanted.action,
        arguments=values_to_proto(arguments),
        concurrency=which.at_once,
    )
    request.timeout.FromMilliseconds(int(which.timeout_s * 1000))
    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    units = {one.name: one.schema.unit for one in action.results} if action else {}
    done = failed = 0
    for one in mesh.stream("jotunheim_bridge", stub.InvokeMany(request, timeout=_MAX_S), device=True):
        done += 1
        if one.HasField("response"):
            show_answer(st, wanted, one.device_id, one.response, units, record=True, name=True)
        else:
            failed += 1
            _show_failure(st, one)
    if not st.out.as_json:
        st.out.remark(f"{done - failed} of {done} done" if done else "no device", "dim")
    return int(Exit.FAILED if failed or not done else Exit.OK)


def show_answer(
    st: State,
    wanted: Wanted,
    device: str,
    answer: bridge_pb2.InvokeResponse,
    units: Mapping[str, str],
    *,
    record: bool = False,
    name: bool = False,
) -> None:
    """One answer: a line, or JSON; `record` is one of several, `name` puts the device before it."""
    from services.chassis.codec import values_from_proto

    results = values_from_proto(answer.results)
    if st.out.as_json:
        data = {key: values.to_json(value) for key, value in results.items()}
        action = f"{wanted.capability}.{wanted.action}"
        shown = {"device": device, "action": action, "call_id": answer.call_id, "results": data}
        (st.out.record if record else st.out.json)(shown)
        return
    text = "   ".join(f"{key}: {values.show(value, units.get(key, ''))}" for key, value in results.items()) or "done"
    st.out.line(f"{safe(device, 63)}  ok  {text}" if name else text)


def _show_failure(st: State, one: bridge_pb2.InvokeManyResponse) -> None:
    from ygg.cli.failure import entry_of

    failure = one.failure
    if st.out.as_json:
        st.out.record({"device": one.device_id, "error": entry_of(failure)})
        return
    st.out.line(f"{safe(one.device_id, 63)}  failed  {safe(failure.message, 1000)}", "red")


def _known_action(mesh: Mesh, wanted: Wanted, selector: str, has: list[str]) -> Action | None:
    """The action as the first of these devices that has it describes it, to read arguments by."""
    from services.domain.errors import YggError
    from ygg.cli.device_calls import contract_of
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    candidates = list(wanted.devices[:1])
    if selector:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.ListDevicesRequest(page_size=select.PAGE, selector=selector, has=has)
        page = mesh.call("registry", stub.ListDevices, request).devices
        candidates += [one.id for one in page if any(c.id == wanted.capability for c in one.capabilities)][:1]
    for device in candidates:
        try:
            return contract_of(mesh, device).action(wanted.capability, wanted.action)
        except YggError:
            continue
    return None
