"""`ygg ota release|status|floor|timestamp-key|root set`. What was signed goes up as it is."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from services.domain import trust
from ygg.cli.ota_app import UINT32_MAX, app, root_app
from ygg.cli.ota_upload import send
from ygg.cli.select import Yes, confirmed
from ygg.cli.state import state
from ygg.exits import CliError, UsageError
from ygg.files import PUBLIC, write_atomic
from ygg.output import safe

_SHORT = 12


@app.command()
def release(
    ctx: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="The signed manifest.")],
    *,
    image: Annotated[Path | None, typer.Option("--image", help="Its image, uploaded first.")] = None,
    patch: Annotated[Path | None, typer.Option("--patch", help="The patch that it names, uploaded as well.")] = None,
) -> None:
    """Release an image: the service checks the manifest as a device would, and can offer it from now on.

    Example:  `ygg ota release 7.release --image fw.bin`
    """
    from ygg.ota import metadata
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    st = state(ctx)
    found = metadata.read(manifest)
    if not isinstance(found.body, trust.Manifest):
        raise UsageError(f"{manifest} is a root", hint="Set it with: ygg ota root set FILE")
    check_files(found.body, image, patch)
    with st.mesh() as mesh:
        for path in (image, patch):
            if path:
                send(mesh, st.out, path)
        stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
        request = release_pb2.CreateReleaseRequest(envelope=manifest.read_bytes())
        made = mesh.call("ota", stub.CreateRelease, request).release
    if st.out.as_json:
        st.out.json(described(made))
        return
    st.out.line(f"released {safe(made.version)} for {safe(made.device_class)} as number {made.sequence}")
    st.out.remark(f"roll it out:  ygg ota rollout start {made.id[:_SHORT]} --waves 2,25%,100% --dry-run", "dim")


def check_files(manifest: trust.Manifest, image: Path | None, patch: Path | None) -> None:
    """Raises UsageError unless the files are those that the manifest names; before anything is uploaded."""
    if image:
        _check_file("image", image, manifest.image_size_bytes, manifest.image_sha256)
    if patch and manifest.delta is None:
        raise UsageError("the manifest names no patch", hint="Make it with: ygg ota manifest … --from OLD --patch FILE")
    if patch and manifest.delta:
        _check_file("patch", patch, manifest.delta.patch_size_bytes, manifest.delta.patch_sha256)


def _check_file(what: str, path: Path, size: int, digest: bytes) -> None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").digest()
            found_size = stream.tell()
    except OSError as e:
        raise CliError(f"cannot read {path}: {e.strerror}") from e
    if (found_size, found) != (size, digest):
        raise UsageError(
            f"{path} is not the {what} of this manifest: it has {found_size} bytes, SHA-256 {found.hex()}; "
            f"the manifest names {size} bytes, SHA-256 {digest.hex()}",
            hint=f"Name the {what} that was signed, or make and sign a manifest of this one.",
        )


@app.command()
def status(ctx: typer.Context) -> None:
    """Show root, releases and rollouts."""
    from ygg.cli.ota_shown import parts
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc, rollout_pb2, rollout_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
        trusted = mesh.call("ota", stub.GetTrust, release_pb2.GetTrustRequest())
        releases = mesh.call("ota", stub.ListReleases, release_pb2.ListReleasesRequest()).releases
        rollouts_stub = rollout_pb2_grpc.RolloutServiceStub(mesh.channel("ota"))
        rollouts = mesh.call("ota", rollouts_stub.ListRollouts, rollout_pb2.ListRolloutsRequest()).rollouts
    if st.out.as_json:
        from ygg.cli.ota_shown import as_data

        st.out.json(
            {
                "root_version": trusted.version,
                "root_sha256": trusted.root_sha256,
                "timestamp_key_delegated": trusted.timestamp_key_delegated,
                "releases": [described(each) for each in releases],
                "rollouts": [as_data(each) for each in rollouts],
            }
        )
        return
    if not trusted.version:
        st.out.prose("no root is set: ygg ota timestamp-key, ygg ota root init, ygg ota root set --bootstrap")
    else:
        key = "named by it" if trusted.timestamp_key_delegated else "NOT named by it: no device takes an update"
        st.out.prose(f"root {trusted.version}, SHA-256 {trusted.root_sha256}")
        st.out.prose(f"the service's timestamp key is {key}")
    if not releases:
        st.out.prose("there is no release yet: ygg ota manifest, ygg ota sign, ygg ota release")
        return
    columns = ("RELEASE", "CLASS", "NO", "VERSION", "COUNTER", "BYTES", "EXPIRES")
    st.out.table(columns, [_row(each) for each in releases], optional=("COUNTER", "NO", "BYTES"))
    for each in rollouts:
        st.out.prose(*parts(each))


def _row(found: Any) -> tuple[str, ...]:
    expires = found.expire_time.ToDatetime().date().isoformat()
    named = (safe(found.device_class), str(found.sequence), safe(found.version), str(found.security_counter))
    return (found.id[:_SHORT], *named, str(found.image_size_bytes), expires)


@app.command("timestamp-key")
def timestamp_key(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, for `ygg ota root init`.")],
) -> None:
    """Fetch the public half of the service's timestamp key.

    Example:  `ygg ota timestamp-key -o timestamp.pub`
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
        raw = mesh.call("ota", stub.GetTrust, release_pb2.GetTrustRequest()).timestamp_key
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_atomic(out, key.public_bytes(serialization.Encoding.PEM, form), PUBLIC)
    key_id = trust.key_id(raw).hex()
    if st.out.as_json:
        st.out.json({"key_id": key_id, "file": str(out)})
        return
    st.out.line(f"timestamp key {key_id} in {out}")


@root_app.command("set")
def set_root(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="The signed root.")],
    *,
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="Trust it as the first root, which nothing but you vouches for.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Give the service the next root. It checks what devices check. The first one needs `--bootstrap`.

    Shows the root's SHA-256 and asks: compare it with the holders of its keys.

    Example:  `ygg ota root set 1.root --bootstrap`   later   `ygg ota root set 2.root`
    """
    from ygg.ota import facts, metadata
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    st = state(ctx)
    found, envelope = metadata.read_root(path)
    digest = trust.digest(envelope.payload).hex()
    with st.mesh() as mesh:
        stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
        before = mesh.call("ota", stub.GetTrust, release_pb2.GetTrustRequest()).version
        if found.version == before + 1 and (before or bootstrap):  # the service has something to say to any other
            for line in facts.lines(facts.describe(metadata.Found(trust.Role.ROOT, envelope, found), found)):
                st.out.remark(line)
            what = f"Replace root {before} by root {found.version}" if before else "Trust this root as the first one"
            confirmed(f"{what}, SHA-256 {digest}? This cannot be undone.", yes=yes)
        request = release_pb2.SetRootRequest(envelope=path.read_bytes(), bootstrap_sha256=digest if bootstrap else "")
        version = mesh.call("ota", stub.SetRoot, request).version
    if st.out.as_json:
        st.out.json({"version": version, "root_sha256": digest})
        return
    st.out.line(f"root {version} is in force, SHA-256 {digest}")


@app.command()
def floor(
    ctx: typer.Context,
    device_class: Annotated[str, typer.Argument(help="Device class.")],
    counter: Annotated[int, typer.Argument(min=0, max=UINT32_MAX, help="Least security counter from now on.")],
    *,
    yes: Yes = False,
) -> None:
    """Raise the security floor: nothing with a lower counter is offered any more. It never falls, so it asks.

    Example:  `ygg ota floor sim-board 2`
    """
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    st = state(ctx)
    with st.mesh() as mesh:
        stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
        listing = release_pb2.ListReleasesRequest(device_class=device_class)
        releases = mesh.call("ota", stub.ListReleases, listing).releases
        confirmed(_floor_question(device_class, counter, releases), yes=yes)
        request = release_pb2.SetFloorRequest(device_class=device_class, security_counter=counter)
        now = mesh.call("ota", stub.SetFloor, request).security_counter
    if st.out.as_json:
        st.out.json({"device_class": device_class, "floor": now})
        return
    st.out.line(f"{safe(device_class)}: nothing below counter {now} is offered")


def _floor_question(device_class: str, counter: int, releases: Sequence[Any]) -> str:
    below = sum(each.security_counter < counter for each in releases)
    ends = f"ends {below} of its {len(releases)} releases" if releases else "there is no release of this class"
    return f"Raise the floor of {safe(device_class)} to {counter} ({ends})? It never falls."


def described(found: Any) -> dict[str, Any]:
    """A release for programs."""
    return {
        "id": found.id,
        "device_class": found.device_class,
        "version": found.version,
        "sequence": found.sequence,
        "security_counter": found.security_counter,
        "image_sha256": found.image_sha256,
        "image_size_bytes": found.image_size_bytes,
        "expires": found.expire_time.ToJsonString(),
        "envelope": base64.b64encode(found.envelope).decode(),
    }
