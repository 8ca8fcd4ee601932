"""`ygg device why`: explain why a device does not match requirements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from ygg.cli.select import Devices, Group, Has, Online, Selector
from ygg.cli.state import state
from ygg.exits import Exit, UsageError
from ygg.output import safe

if TYPE_CHECKING:
    from yggdrasil.registry.v1 import registry_pb2


def register(app: typer.Typer) -> None:
    """Add the command to `ygg device`."""
    app.command()(why)


def why(
    ctx: typer.Context,
    devices: Devices,
    *,
    has: Has = None,
    selector: Selector = "",
    group: Group = "",
    online: Online = None,
) -> int:
    """Explain why devices match requirements or not.

    Exit code 0 if all match, otherwise 1.

    Examples:
    - `ygg device why porch-1 --has sensor.temperature@2+`
    - `ygg device why porch-1 --has 'actuator.led{brightness:int % 0..100 rw}' -l zone=hall --online`
    """
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    if not (has or selector or group or online is not None):
        raise UsageError(
            "no requirement given", hint="Pass at least one:  --has sensor.temperature@2+   -l zone=hall   --online"
        )
    st = state(ctx)
    request = registry_pb2.FindDevicesRequest(
        has=has or [], selector=selector, group=group, online=online, page_size=1, explain=devices
    )
    with st.mesh() as mesh:
        stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
        found = mesh.call("registry", stub.FindDevices, request).explanations
    if st.out.as_json:
        st.out.json([_json(one, has or []) for one in found])
    for one in found if not st.out.as_json else ():
        if one.matches:
            by = [f"{text} by {name}" for text, name in zip(has or [], one.capability_ids, strict=False) if name]
            st.out.prose(f"✓ {safe(one.device_id, 63)} matches" + (f": {', '.join(by)}" if by else ""), style="green")
            continue
        st.out.line(f"✗ {safe(one.device_id, 63)} does not match", "red")
        for clause in one.failed:
            asked = f"      ({has[clause.requirement]})" if has and 0 <= clause.requirement < len(has) else ""
            st.out.prose(f"  {safe(clause.message, 1000)}{asked}")
    return int(Exit.OK if all(one.matches for one in found) else Exit.FAILED)


def _json(one: registry_pb2.Explanation, has: list[str]) -> dict[str, Any]:
    from yggdrasil.common.v1 import requirement_pb2

    return {
        "device": one.device_id,
        "matches": one.matches,
        "capabilities": list(one.capability_ids),
        "failed": [
            {
                "kind": requirement_pb2.ClauseKind.Name(clause.kind).removeprefix("CLAUSE_KIND_").lower(),
                "requirement": has[clause.requirement] if 0 <= clause.requirement < len(has) else None,
                "capability": clause.capability_id,
                "member": clause.member,
                "message": clause.message,
            }
            for clause in one.failed
        ],
    }
