"""What a command that follows something does first: refuse names that do not exist, and say what it waits for.

Where the output is JSON nothing is said: a program that reads it needs no words.
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
"""Devices that are named; more are counted."""


def known(st: State, mesh: Mesh, devices: Sequence[str]) -> list[registry_pb2.Device]:
    """These devices as the registry knows them; raises its NOT_FOUND for one that does not exist.

    While the registry is away what was asked for is followed all the same, and that is said.
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
        waiting(st, "The registry is away, so names are not checked.")
    return found


def begun(responses: Any) -> bool:
    """Wait until a stream has begun, or failed: then reading it raises why, and this is False."""
    responses.initial_metadata()
    return bool(responses.is_active())


def waiting(st: State, text: str) -> None:
    """Say on standard error what is waited for."""
    if not st.out.as_json:
        st.out.remark(text, "dim")


def named(devices: Sequence[str], every: str = "every device") -> str:
    """`porch-1 and porch-2`, `12 devices`; `every` if there are none."""
    if not devices:
        return every
    if len(devices) > MAX_NAMED:
        return counted(len(devices), "device")
    names = [safe(device, 63) for device in devices]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
