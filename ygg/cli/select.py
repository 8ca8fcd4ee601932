"""Device selection: options shared by commands on many devices, paging, confirmation, labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ygg.exits import CliError, Exit, UsageError
from ygg.output import safe

if TYPE_CHECKING:
    from ygg.client import Mesh
    from yggdrasil.registry.v1 import registry_pb2

PAGE = 1000
_PERIOD = re.compile(r"([0-9]{1,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Device id, such as porch-1.")]
Devices = Annotated[list[str], typer.Argument(metavar="DEVICE", help="Device ids, such as porch-1.")]
Selector = Annotated[
    str,
    typer.Option(
        "--selector",
        "-l",
        metavar="SELECTOR",
        help="Label selector, such as 'zone=hall,floor in (1,2),!old'; '*' selects all.",
    ),
]
Has = Annotated[
    list[str] | None,
    typer.Option(
        "--has",
        metavar="REQ",
        help="Required capability, such as sensor.temperature@2+ or 'actuator.led{blink()}'; repeatable.",
    ),
]
Online = Annotated[bool | None, typer.Option("--online/--offline", help="Only online or only offline devices.")]
Group = Annotated[str, typer.Option("--group", "-g", metavar="GROUP", help="Only devices of this group.")]
States = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="pending, active, suspended or retired; repeatable."),
]
Expiring = Annotated[
    str,
    typer.Option("--expiring", metavar="PERIOD", help="Certificate expires within this time: 30d, 12h, 90m."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")]


def state_numbers(names: list[str] | None) -> list[registry_pb2.DeviceState.ValueType]:
    """Return the enum values of names such as `["pending"]`. Raises UsageError."""
    from yggdrasil.registry.v1 import registry_pb2

    known = {name.removeprefix("DEVICE_STATE_").lower(): number for name, number in registry_pb2.DeviceState.items()}
    del known["unspecified"]
    for name in names or ():
        if name not in known:
            raise UsageError(f"unknown state {name!r}", hint=f"Expected one of {', '.join(known)}.")
    return [known[name] for name in names or ()]


def all_devices(mesh: Mesh, request: registry_pb2.ListDevicesRequest) -> Iterator[registry_pb2.Device]:
    """Yield every device that matches the request, page by page."""
    from yggdrasil.registry.v1 import registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    request.page_size = PAGE
    while True:
        page = mesh.call("registry", stub.ListDevices, request)
        yield from page.devices
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def with_group(mesh: Mesh, selector: str, group: str) -> str:
    """Return `selector` combined with that of `group`, for requests without a group field. Raises CliError."""
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    if not group:
        return selector
    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    groups = mesh.call("registry", stub.ListGroups, registry_pb2.ListGroupsRequest()).groups
    for one in groups:
        if one.name == group:
            both = [text for text in (selector, one.selector) if text.strip() not in ("", "*")]
            return ",".join(both) or "*"
    raise CliError(f"group {safe(group)} not found", hint="List groups:  ygg group ls", code=Exit.NOT_FOUND)


def confirmed(question: str, *, yes: bool) -> None:
    """Prompt for confirmation. Raises UsageError if stdin is not a terminal, Abort if declined."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("confirmation required, but stdin is not a terminal; pass --yes")
    typer.confirm(question, abort=True, err=True)


def period(text: str) -> timedelta:
    """Parse `30d`, `12h` or `90m`. Raises UsageError."""
    match = _PERIOD.fullmatch(text)
    if not match:
        raise UsageError(f"invalid period {safe(text)!r}", hint="Expected a number and a unit: 30d, 12h or 90m.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def label_changes(words: list[str]) -> dict[str, str]:
    """Parse `["zone=hall", "old-"]` into changes; an empty value removes. Raises UsageError."""
    changes = {}
    for word in words:
        if "=" in word:
            key, _, value = word.partition("=")
            if not value:
                raise UsageError(f"label {key} has no value", hint=f"Remove a label with  {key}-")
            changes[key] = value
        elif word.endswith("-") and len(word) > 1:
            changes[word[:-1]] = ""
        else:
            raise UsageError(f"invalid label {word!r}", hint="zone=hall sets a label, zone- removes it.")
    return changes


def new_labels(words: list[str] | None) -> dict[str, str]:
    """Parse `["zone=hall"]` into the labels of a new device. Raises UsageError."""
    found = label_changes(words or [])
    for key, value in found.items():
        if not value:
            raise UsageError(f"cannot remove label {key} of a new device")
    return found
