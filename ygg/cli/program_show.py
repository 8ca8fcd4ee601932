"""Format programs as tables, text and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from services.chassis import codec
from ygg import values
from ygg.cli.state import State
from ygg.output import safe
from yggdrasil.loki.v1 import loki_pb2 as lp
from yggdrasil.loki.v1 import program_pb2 as pb

_STYLES = {
    lp.LOG_LEVEL_DEBUG: "dim",
    lp.LOG_LEVEL_WARNING: "yellow",
    lp.LOG_LEVEL_ERROR: "red",
}


def data(message: Message) -> dict[str, Any]:
    """Return a message as JSON data with proto field names."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def text(message: Any) -> str:
    """Return a value as text."""
    return safe(values.show(codec.value_from_proto(message)))


def value(message: Any) -> object:
    """Return a value as JSON data."""
    return values.to_json(codec.value_from_proto(message))


def state_of(instance: pb.ProgramInstance) -> str:
    """`running`, `suspended`, …"""
    return pb.InstanceState.Name(instance.state).removeprefix("INSTANCE_STATE_").lower()


def target_of(deployment: pb.ProgramDeployment) -> str:
    """Return the target of a deployment as text."""
    target = deployment.target
    return target.device_id or (target.selector and f"-l {target.selector}") or "the mesh"


def linked(found: pb.ProgramDeployment) -> str:
    """Return the linked packages of a deployment and of its canary; empty if there are none."""
    packages = ", ".join(f"{safe(one.id)} {safe(one.version)}" for one in found.packages)
    if found.canary.packages:
        canary = ", ".join(f"{safe(one.id)} {safe(one.version)}" for one in found.canary.packages)
        packages = f"{packages or 'nothing'}; {safe(found.canary.version)} with {canary}"
    return packages


def deployment(st: State, found: pb.ProgramDeployment, outcome: str) -> None:
    """Print the outcome of a change, or the deployment as JSON."""
    if st.out.as_json:
        st.out.json(data(found))
    else:
        st.out.line(outcome)


def reported(instance: pb.ProgramInstance) -> list[str]:
    """Return the values that an instance reports, one line per key."""
    found = codec.values_from_proto(instance.reported)
    name = safe(f"{instance.deployment_id}/{instance.device_id}" if instance.device_id else instance.deployment_id, 100)
    return [f"{name} reports {safe(key, 64)} = {safe(values.show(found[key]))}" for key in sorted(found)]


def instances(st: State, found: Iterable[pb.ProgramInstance]) -> None:
    """Print the table of instances."""
    rows = [
        (
            safe(each.deployment_id),
            safe(each.device_id or "-"),
            safe(each.version),
            state_of(each),
            str(each.restarts),
            safe(each.replica),
            safe(each.problem or each.last_error, 160),
        )
        for each in found
    ]
    st.out.table(
        ("DEPLOYMENT", "DEVICE", "VERSION", "STATE", "RESTARTS", "REPLICA", "PROBLEM"),
        rows,
        optional=("REPLICA", "RESTARTS"),
    )


def line(st: State, found: pb.WatchLogsResponse) -> None:
    """Print a log line as text with its instance, or as a JSON record."""
    if st.out.as_json:
        st.out.record(data(found))
        return
    when = codec.moment(found.entry.time).strftime("%H:%M:%S")
    name = f"{found.deployment_id}/{found.device_id}" if found.device_id else found.deployment_id
    st.out.line(f"{when} {safe(name)}  {safe(found.entry.message, 4000)}", _STYLES.get(found.entry.level, ""))
