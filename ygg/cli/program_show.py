"""How programs are shown: tables for people, the messages as JSON for programs."""

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
    """A message as JSON, its fields by the names of the contract; values as plain JSON."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def text(message: Any) -> str:
    """A value for people."""
    return safe(values.show(codec.value_from_proto(message)))


def value(message: Any) -> object:
    """A value as plain JSON."""
    return values.to_json(codec.value_from_proto(message))


def state_of(instance: pb.ProgramInstance) -> str:
    """`running`, `suspended`, …"""
    return pb.InstanceState.Name(instance.state).removeprefix("INSTANCE_STATE_").lower()


def target_of(deployment: pb.ProgramDeployment) -> str:
    """Where it runs, in words."""
    target = deployment.target
    return target.device_id or (target.selector and f"-l {target.selector}") or "the mesh"


def linked(found: pb.ProgramDeployment) -> str:
    """The packages that a deployment is linked with, and those of what it tries; empty where there are none."""
    told = ", ".join(f"{safe(one.id)} {safe(one.version)}" for one in found.packages)
    if found.canary.packages:
        tried = ", ".join(f"{safe(one.id)} {safe(one.version)}" for one in found.canary.packages)
        told = f"{told or 'nothing'}; {safe(found.canary.version)} with {tried}"
    return told


def deployment(st: State, found: pb.ProgramDeployment, told: str) -> None:
    """What became of a deployment."""
    if st.out.as_json:
        st.out.json(data(found))
    else:
        st.out.line(told)


def reported(instance: pb.ProgramInstance) -> list[str]:
    """What an instance reports of itself, a line a key."""
    found = codec.values_from_proto(instance.reported)
    who = safe(f"{instance.deployment_id}/{instance.device_id}" if instance.device_id else instance.deployment_id, 100)
    return [f"{who} reports {safe(key, 64)} = {safe(values.show(found[key]))}" for key in sorted(found)]


def instances(st: State, found: Iterable[pb.ProgramInstance]) -> None:
    """The table of instances."""
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
    """A line of a log: one JSON document, or text with its instance."""
    if st.out.as_json:
        st.out.record(data(found))
        return
    when = codec.moment(found.entry.time).strftime("%H:%M:%S")
    who = f"{found.deployment_id}/{found.device_id}" if found.device_id else found.deployment_id
    st.out.line(f"{when} {safe(who)}  {safe(found.entry.message, 4000)}", _STYLES.get(found.entry.level, ""))
