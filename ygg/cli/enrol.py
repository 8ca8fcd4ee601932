"""`ygg device token|tokens|revoke`: enrolment tokens and revocation of certificates."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.domain.values import INT_MAX
from ygg.cli import select
from ygg.cli.select import Device, Yes
from ygg.cli.state import state
from ygg.exits import UsageError
from ygg.output import duration, safe

if TYPE_CHECKING:
    from yggdrasil.registry.v1 import enrolment_pb2

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORTEST_S, _LONGEST_S = 60, 30 * 86400
_Revision = Annotated[
    int,
    typer.Option(
        "--revision",
        min=0,
        max=INT_MAX,
        show_default=False,
        metavar="N",
        help="Fail unless the device has this revision.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `ygg device`."""
    for command in (token, tokens, revoke):
        app.command()(command)


def token(
    ctx: typer.Context,
    device: Device,
    *,
    ttl: Annotated[str, typer.Option("--ttl", metavar="1d", help="Time to live, 60s to 30d.")] = "1d",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help="Label for a new device; repeatable."),
    ] = None,
) -> None:
    """Create a one-time enrolment token for a device.

    The device exchanges the token for a certificate. An unknown device is registered. The token is printed to standard
    output and cannot be shown again.

    Examples:
    - `ygg device token shed-1 -l zone=shed > shed-1.token`
    - `YGG_AGENT_TOKEN=$(cat shed-1.token) ygg-agent --identity ./shed-1 --connect HOST:7443` # on the device
    """
    from services.chassis.codec import moment
    from yggdrasil.registry.v1 import enrolment_pb2, enrolment_pb2_grpc

    request = enrolment_pb2.CreateTokenRequest(device_id=device, ttl_s=seconds(ttl), labels=select.new_labels(label))
    st = state(ctx)
    with st.mesh() as mesh:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(mesh.channel("registry"))
        answer = mesh.call("registry", stub.CreateToken, request)
    if st.out.as_json:
        st.out.json({"secret": answer.secret, **_json(answer.token)})
        return
    st.out.line(safe(answer.secret, 2000))
    end = moment(answer.token.expire_time).astimezone()
    st.out.remark(f"single use, for {device}, expires {end:%Y-%m-%d %H:%M}; keep it secret", "dim")
    link = st.context()[1].link
    st.out.remark(f"on the device:  YGG_AGENT_TOKEN=…  ygg-agent --identity ./{device} --connect {link}", "dim")


def tokens(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Device; default: all.")] = "",
    *,
    delete: Annotated[str, typer.Option("--delete", metavar="ID", help="Delete this token instead.")] = "",
) -> None:
    """List enrolment tokens, newest first, without their secrets.

    Examples:
    - `ygg device tokens`
    - `ygg device tokens shed-1`
    - `ygg device tokens --delete 4f1c…`
    """
    from yggdrasil.registry.v1 import enrolment_pb2, enrolment_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(mesh.channel("registry"))
        if delete:
            mesh.call("registry", stub.DeleteToken, enrolment_pb2.DeleteTokenRequest(token_id=delete))
            if st.out.as_json:
                st.out.json({"deleted": delete})
            else:
                st.out.line(f"token {safe(delete)} deleted")
            return
        found = mesh.call("registry", stub.ListTokens, enrolment_pb2.ListTokensRequest(device_id=device)).tokens
    if st.out.as_json:
        st.out.json([_json(one) for one in found])
        return
    if not found:
        st.out.line("no tokens found")
        st.out.remark(f"Create one:  ygg device token {device or 'DEVICE'}")
        return
    now = datetime.now(UTC)
    rows = [(one.id, safe(one.device_id, 63), _state(one, now), safe(one.author)) for one in found]
    st.out.table(("TOKEN", "DEVICE", "STATE", "AUTHOR"), rows, optional=("AUTHOR",))


def revoke(ctx: typer.Context, device: Device, *, revision: _Revision = 0, yes: Yes = False) -> None:
    """Revoke all certificates of a device.

    Its session closes within seconds. The device needs a new token to connect again.

    Examples:
    - `ygg device revoke shed-1 --yes`
    - `ygg device token shed-1` # enrol it again
    """
    from ygg import describe
    from yggdrasil.registry.v1 import enrolment_pb2, enrolment_pb2_grpc

    select.confirmed(f"Revoke all certificates of {device}?", yes=yes)
    st = state(ctx)
    with st.mesh() as mesh:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(mesh.channel("registry"))
        request = enrolment_pb2.RevokeCertificatesRequest(device_id=device, revision=revision)
        found = mesh.call("registry", stub.RevokeCertificates, request).device
    if st.out.as_json:
        st.out.json(describe.device_json(found))
        return
    st.out.line(f"{device}  certificates revoked; enrol it again:  ygg device token {device}")


def seconds(text: str) -> int:
    """Parse `1d`, `12h`, `30m`, `90s` or plain seconds. Raises UsageError."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    found = int(match[1]) * _UNITS[match[2] or "s"] if match else 0
    if not _SHORTEST_S <= found <= _LONGEST_S:
        raise UsageError(f"invalid time to live {safe(text)!r}", hint="Expected 60s to 30d, such as 1d, 12h or 30m.")
    return found


def _state(one: enrolment_pb2.Token, now: datetime) -> str:
    from services.chassis.codec import moment

    if one.HasField("use_time"):
        return f"used {duration((now - moment(one.use_time)).total_seconds())} ago".replace("now ago", "just now")
    left = (moment(one.expire_time) - now).total_seconds()
    return f"valid for {duration(left)}" if left > 0 else "expired"


def _json(one: enrolment_pb2.Token) -> dict[str, Any]:
    from services.chassis.codec import moment

    return {
        "id": one.id,
        "device": one.device_id,
        "create_time": moment(one.create_time).isoformat(),
        "expire_time": moment(one.expire_time).isoformat(),
        "use_time": moment(one.use_time).isoformat() if one.HasField("use_time") else None,
        "serial": one.serial,
        "author": one.author,
    }
