"""Action calls: parse the command line, call many devices concurrently, print the responses."""

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
class ActionCall:
    """A parsed command line; arguments are still text."""

    devices: list[str]
    capability: str
    action: str
    arguments: dict[str, str]

    @classmethod
    def of(cls, words: list[str]) -> ActionCall:
        """Parse `["porch-1", "led0.blink", "times=3"]`. Raises UsageError."""
        for at, word in enumerate(words):
            if "." in word.partition("=")[0]:
                capability, action = values.member(word)
                return cls(words[:at], capability, action, values.assignments(words[at + 1 :]))
        raise UsageError("no action given", hint="Expected CAPABILITY.ACTION, such as led0.blink.")


@dataclass(frozen=True, slots=True)
class Targets:
    """The devices to call besides the named ones, the maximum concurrency, and the timeout per device in seconds."""

    selector: str
    has: list[str]
    concurrency: int
    timeout_s: float


def call(st: State, mesh: Mesh, action_call: ActionCall, targets: Targets) -> int:
    """Call many devices and print each response as it arrives; return the exit code."""
    from services.chassis.codec import values_to_proto
    from yggdrasil.jotunheim.v1 import bridge_pb2, bridge_pb2_grpc

    selector = targets.selector or ("*" if targets.has and not action_call.devices else "")
    action = _declared_action(mesh, action_call, selector, targets.has)
    given = action_call.arguments
    arguments = (
        values.arguments(given, action.arguments)
        if action
        else {name: values.guess(text) for name, text in given.items()}
    )
    request = bridge_pb2.InvokeManyRequest(
        device_ids=action_call.devices,
        selector=selector,
        has=targets.has,
        capability=action_call.capability,
        action=action_call.action,
        arguments=values_to_proto(arguments),
        concurrency=targets.concurrency,
    )
    request.timeout.FromMilliseconds(int(targets.timeout_s * 1000))
    stub = bridge_pb2_grpc.BridgeServiceStub(mesh.channel("jotunheim_bridge"))
    units = {one.name: one.schema.unit for one in action.results} if action else {}
    done = failed = 0
    for one in mesh.stream("jotunheim_bridge", stub.InvokeMany(request, timeout=_MAX_S), device=True):
        done += 1
        if one.HasField("response"):
            show_answer(st, action_call, one.device_id, one.response, units, record=True, name=True)
        else:
            failed += 1
            _show_failure(st, one)
    if not st.out.as_json:
        st.out.remark(f"{done - failed} of {done} succeeded" if done else "no devices found", "dim")
    return int(Exit.FAILED if failed or not done else Exit.OK)


def show_answer(
    st: State,
    action_call: ActionCall,
    device: str,
    answer: bridge_pb2.InvokeResponse,
    units: Mapping[str, str],
    *,
    record: bool = False,
    name: bool = False,
) -> None:
    """Print a response as a line or JSON; `record`: it is one of several; `name`: prefix the device."""
    from services.chassis.codec import values_from_proto

    results = values_from_proto(answer.results)
    if st.out.as_json:
        data = {key: values.to_json(value) for key, value in results.items()}
        action = f"{action_call.capability}.{action_call.action}"
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


def _declared_action(mesh: Mesh, action_call: ActionCall, selector: str, has: list[str]) -> Action | None:
    """Return the action from the contract of the first device that has it; arguments are parsed by it."""
    from services.domain.errors import YggError
    from ygg.cli.device_calls import contract_of
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    candidates = list(action_call.devices[:1])
    if selector:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        request = registry_pb2.ListDevicesRequest(page_size=select.PAGE, selector=selector, has=has)
        page = mesh.call("registry", stub.ListDevices, request).devices
        candidates += [one.id for one in page if any(c.id == action_call.capability for c in one.capabilities)][:1]
    for device in candidates:
        try:
            return contract_of(mesh, device).action(action_call.capability, action_call.action)
        except YggError:
            continue
    return None
