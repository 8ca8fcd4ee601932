"""`ygg ota release|status|floor|timestamp-key|root set`: upload signed metadata unchanged."""

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
    manifest: Annotated[Path, typer.Argument(metavar="FILE", help="Signed manifest.")],
    *,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="IMAGE", help="Image of the manifest, to upload first.")
    ] = None,
    patch: Annotated[
        Path | None, typer.Option("--patch", metavar="FILE", help="Patch of the manifest, to upload first.")
    ] = None,
) -> None:
    """Publish a signed release, to make it available for rollouts.

    The service verifies the manifest with the same rules as a device.

    Example:
    - `ygg ota release 7.release --image fw.bin`
    """
    from ygg.ota import metadata
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    st = state(ctx)
    found = metadata.read(manifest)
    if not isinstance(found.body, trust.Manifest):
        raise UsageError(f"{manifest} is a root, not a manifest", hint="Install a root:  ygg ota root set FILE")
    check_files(found.body, image, patch)
    with st.mesh() as mesh:
        for path in (image, patch):
            if path:
                send(mesh, st.out, path)
        stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
        request = release_pb2.CreateReleaseRequest(envelope=manifest.read_bytes())
        made = mesh.call("ota", stub.CreateRelease, request).release
    if st.out.as_json:
        st.out.json(release_data(made))
        return
    st.out.line(f"released {safe(made.version)} for {safe(made.device_class)}, sequence {made.sequence}")
    st.out.remark(f"Roll it out:  ygg ota rollout start {made.id[:_SHORT]} --waves 2,25%,100% --dry-run", "dim")


def check_files(manifest: trust.Manifest, image: Path | None, patch: Path | None) -> None:
    """Raise UsageError unless the files match the manifest."""
    if image:
        _check_file("image", image, manifest.image_size_bytes, manifest.image_sha256)
    if patch and manifest.delta is None:
        raise UsageError("the manifest has no patch", hint="Create it with  ygg ota manifest … --from OLD --patch FILE")
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
            f"{path} does not match the {what} of the manifest: {found_size} bytes, SHA-256 {found.hex()}; "
            f"expected {size} bytes, SHA-256 {digest.hex()}",
            hint=f"Pass the {what} that was signed, or create and sign a new manifest.",
        )


@app.command()
def status(ctx: typer.Context) -> None:
    """Show the current root, releases and rollouts."""
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
        from ygg.cli.ota_shown import rollout_data

        st.out.json(
            {
                "root_version": trusted.version,
                "root_sha256": trusted.root_sha256,
                "timestamp_key_delegated": trusted.timestamp_key_delegated,
                "releases": [release_data(each) for each in releases],
                "rollouts": [rollout_data(each) for each in rollouts],
            }
        )
        return
    if not trusted.version:
        st.out.prose("no root installed; run: ygg ota timestamp-key, ygg ota root init, ygg ota root set --bootstrap")
    else:
        key = "listed in it" if trusted.timestamp_key_delegated else "NOT listed in it: devices reject all updates"
        st.out.prose(f"root {trusted.version}, SHA-256 {trusted.root_sha256}")
        st.out.prose(f"timestamp key of the service: {key}")
    if not releases:
        st.out.prose("no releases yet; run: ygg ota manifest, ygg ota sign, ygg ota release")
        return
    columns = ("RELEASE", "CLASS", "SEQUENCE", "VERSION", "COUNTER", "BYTES", "EXPIRES")
    st.out.table(columns, [_row(each) for each in releases], optional=("COUNTER", "SEQUENCE", "BYTES"))
    for each in rollouts:
        st.out.prose(*parts(each))


def _row(found: Any) -> tuple[str, ...]:
    expires = found.expire_time.ToDatetime().date().isoformat()
    named = (safe(found.device_class), str(found.sequence), safe(found.version), str(found.security_counter))
    return (found.id[:_SHORT], *named, str(found.image_size_bytes), expires)


@app.command("timestamp-key")
def timestamp_key(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Output file, for `ygg ota root init`.")],
) -> None:
    """Download the public timestamp key of the service.

    Example:
    - `ygg ota timestamp-key -o timestamp.pub`
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
    st.out.line(f"wrote timestamp key {key_id} to {out}")


@root_app.command("set")
def set_root(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Signed root.")],
    *,
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="Trust this file as the first root; nothing else verifies it.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Install the next root in the service.

    The service verifies it with the same rules as a device. Shows the SHA-256 of the root and prompts for confirmation:
    compare it with the key holders. The first root needs --bootstrap.

    Examples:
    - `ygg ota root set 1.root --bootstrap` # the first root
    - `ygg ota root set 2.root` # a later one
    """
    from ygg.ota import facts, metadata
    from yggdrasil.ota.v1 import release_pb2, release_pb2_grpc

    st = state(ctx)
    found, envelope = metadata.read_root(path)
    digest = trust.digest(envelope.payload).hex()
    with st.mesh() as mesh:
        stub = release_pb2_grpc.ReleaseServiceStub(mesh.channel("ota"))
        before = mesh.call("ota", stub.GetTrust, release_pb2.GetTrustRequest()).version
        if found.version == before + 1 and (before or bootstrap):  # the service rejects any other without a prompt
            for line in facts.lines(facts.describe(metadata.Found(trust.Role.ROOT, envelope, found), found)):
                st.out.remark(line)
            what = f"Replace root {before} with root {found.version}" if before else "Trust this root as the first one"
            confirmed(f"{what}, SHA-256 {digest}? This cannot be undone.", yes=yes)
        request = release_pb2.SetRootRequest(envelope=path.read_bytes(), bootstrap_sha256=digest if bootstrap else "")
        version = mesh.call("ota", stub.SetRoot, request).version
    if st.out.as_json:
        st.out.json({"version": version, "root_sha256": digest})
        return
    st.out.line(f"root {version} installed, SHA-256 {digest}")


@app.command()
def floor(
    ctx: typer.Context,
    device_class: Annotated[str, typer.Argument(metavar="CLASS", help="Device class.")],
    counter: Annotated[int, typer.Argument(metavar="COUNTER", min=0, max=UINT32_MAX, help="Minimum security counter.")],
    *,
    yes: Yes = False,
) -> None:
    """Raise the security floor of a device class.

    Releases with a lower security counter are no longer offered. This cannot be undone.

    Example:
    - `ygg ota floor sim-board 2`
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
    st.out.line(f"{safe(device_class)}: security floor is {now}")


def _floor_question(device_class: str, counter: int, releases: Sequence[Any]) -> str:
    below = sum(each.security_counter < counter for each in releases)
    effect = f"disables {below} of {len(releases)} releases" if releases else "no releases of this class"
    return f"Raise the security floor of {safe(device_class)} to {counter} ({effect})? This cannot be undone."


def release_data(found: Any) -> dict[str, Any]:
    """Return a release as JSON data."""
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
