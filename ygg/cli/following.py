"""Shared by commands that follow a stream: validate device names and print a notice of the subscription.

Notices are suppressed in JSON mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ygg.cli.state import State
from ygg.output import counted, safe

if TYPE_CHECKING:
    from ygg.client import Mesh
    from yggdrasil.registry.v1 import registry_pb2

MAX_NAMED = 3
"""Devices named in a notice; more are only counted."""


def known_devices(st: State, mesh: Mesh, devices: Sequence[str]) -> list[registry_pb2.Device]:
    """Return the registry's records of these devices. Raises NOT_FOUND for an unknown one.

    If the registry is unavailable, prints a notice and skips the check.
    """
    from services.domain.errors import Code, YggError
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    found = []
    try:
        for device in devices:
            request = registry_pb2.GetDeviceRequest(device_id=device)
            found.append(mesh.call("registry", stub.GetDevice, request).device)
    except YggError as e:
        if e.code is not Code.UNAVAILABLE:
            raise
        notice(st, "The registry is unavailable; device names are not checked.")
    return found


def started(responses: Any) -> bool:
    """Wait until a stream is open; return False if it failed, in which case reading it raises the error."""
    responses.initial_metadata()
    return bool(responses.is_active())


def notice(st: State, text: str) -> None:
    """Print a notice on standard error, except in JSON mode."""
    if not st.out.as_json:
        st.out.remark(text, "dim")


def device_names(devices: Sequence[str]) -> str:
    """Return `porch-1 and porch-2`, `12 devices`, or `all devices` for an empty list."""
    if not devices:
        return "all devices"
    if len(devices) > MAX_NAMED:
        return counted(len(devices), "device")
    names = [safe(device, 63) for device in devices]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
