"""The offline commands of `ygg ota`: keys, roots, manifests, signatures. They run on a machine without network."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.domain import trust
from services.domain.trust import Manifest, Role, Root
from ygg.cli.ota_app import MAX_DAYS, UINT32_MAX, app, root_app
from ygg.cli.state import state
from ygg.exits import CliError, UsageError
from ygg.files import PUBLIC, read_text, write_atomic
from ygg.output import Output

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from ygg.ota.metadata import Found, Holders

DAY_S = 86_400
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", help="File with the password of the keys in its first line; default: prompt."
    ),
]
Keys = Annotated[list[Path] | None, typer.Option("--key", metavar="FILE", help="Key file to sign with; repeatable.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Output file.")]


def password(path: Path | None, *, ask: bool = False) -> str:
    """Return the first line of the file, or with `ask` the typed password, else "". Raises UsageError."""
    if path:
        found = read_text(path).partition("\n")[0]
        if not found:
            raise UsageError(f"the first line of {path} is empty; expected the password")
        return found
    return _typed("password", twice=True) if ask else ""


def _typed(what: str, *, twice: bool = False) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"{what} required, but stdin is not a terminal; pass --password-file FILE")
    return str(typer.prompt(what, hide_input=True, confirmation_prompt=twice, err=True))


@app.command()
def keygen(
    ctx: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Private key file; a bare name is stored in $YGG_HOME/keys. Also writes FILE.pub."
        ),
    ],
    *,
    ask: Annotated[bool, typer.Option("--password", help="Prompt for a password to encrypt the key.")] = False,
    password_file: PasswordFile = None,
) -> None:
    """Generate a signing key (ECDSA P-256).

    The key is not encrypted unless --password or --password-file is given. Signing commands search for keys in the
    working directory and in $YGG_HOME/keys. A path inside a git work tree is rejected unless git ignores it.

    Example:
    - `ygg ota keygen --password root-anna.key`
    """
    from ygg.ota import keys

    st = state(ctx)
    path = keys.new_path(path)
    key_id = trust.key_id(keys.generate(path, password(password_file, ask=ask))).hex()
    if st.out.as_json:
        st.out.json({"key": str(path), "public": str(keys.public_path(path)), "key_id": key_id})
        return
    st.out.line(f"wrote key {key_id} to {path}, public key to {keys.public_path(path)}")


@root_app.command()
def init(
    ctx: typer.Context,
    *,
    root_key: Annotated[
        list[Path], typer.Option("--root-key", metavar="FILE", help="Public key of the root role; repeatable.")
    ],
    release_key: Annotated[
        list[Path], typer.Option("--release-key", metavar="FILE", help="Public key of the release role; repeatable.")
    ],
    timestamp_key: Annotated[
        Path,
        typer.Option("--timestamp-key", metavar="FILE", help="Public key of the service; see `ygg ota timestamp-key`."),
    ],
    out: Out,
    root_threshold: Annotated[
        int, typer.Option("--root-threshold", min=1, max=trust.MAX_KEYS, help="Signatures required for a root.")
    ] = 1,
    release_threshold: Annotated[
        int, typer.Option("--release-threshold", min=1, max=trust.MAX_KEYS, help="Signatures required for a release.")
    ] = 1,
    days: Annotated[int, typer.Option("--days", min=1, max=MAX_DAYS, help="Days until it expires.")] = 3650,
    key: Keys = None,
    password_file: PasswordFile = None,
) -> None:
    """Create the first root, to be built into devices.

    Examples:
    - `ygg ota root init --root-key a.pub --root-key b.pub --root-threshold 2 --release-key r.pub
      --timestamp-key ts.pub -o 1.root`
    - `ygg ota sign 1.root --key a.key` # by each key holder
    """
    from ygg.ota import keys, metadata
    from ygg.ota.metadata import Holders

    found = metadata.make_root(
        1,
        int(time.time()) + days * DAY_S,
        Holders(keys.load_publics(root_key), root_threshold),
        Holders(keys.load_publics(release_key), release_threshold),
        Holders([keys.load_public(timestamp_key)], 1),
    )
    _new(out)
    _write(state(ctx).out, out, found, key, password_file)


@root_app.command()
def rotate(
    ctx: typer.Context,
    old: Annotated[Path, typer.Argument(metavar="FILE", help="Current root.")],
    *,
    out: Out,
    root_key: Annotated[
        list[Path] | None,
        typer.Option("--root-key", metavar="FILE", help="New set of root keys; repeatable. Default: unchanged."),
    ] = None,
    release_key: Annotated[
        list[Path] | None,
        typer.Option("--release-key", metavar="FILE", help="New set of release keys; repeatable. Default: unchanged."),
    ] = None,
    timestamp_key: Annotated[
        Path | None,
        typer.Option("--timestamp-key", metavar="FILE", help="New timestamp key of the service. Default: unchanged."),
    ] = None,
    root_threshold: Annotated[
        int,
        typer.Option(
            "--root-threshold", min=0, max=trust.MAX_KEYS, help="Signatures required for a root; 0: unchanged."
        ),
    ] = 0,
    release_threshold: Annotated[
        int,
        typer.Option(
            "--release-threshold", min=0, max=trust.MAX_KEYS, help="Signatures required for a release; 0: unchanged."
        ),
    ] = 0,
    days: Annotated[int, typer.Option("--days", min=1, max=MAX_DAYS, help="Days until it expires.")] = 3650,
    key: Keys = None,
    password_file: PasswordFile = None,
) -> None:
    """Create the next root, with changed keys or thresholds.

    It must be signed by the root threshold of the current root and by its own.

    Example:
    - `ygg ota root rotate 1.root --timestamp-key new.pub -o 2.root --key a.key --key b.key`
    """
    from ygg.ota import keys, metadata
    from ygg.ota.metadata import Holders

    before, _ = metadata.read_root(old)

    def role(which: Role, paths: list[Path] | None, threshold: int) -> Holders:
        kept = metadata.holders(before, which)
        return Holders(keys.load_publics(paths) if paths else kept.keys, threshold or kept.threshold)

    found = metadata.make_root(
        before.version + 1,
        int(time.time()) + days * DAY_S,
        role(Role.ROOT, root_key, root_threshold),
        role(Role.RELEASE, release_key, release_threshold),
        role(Role.TIMESTAMP, [timestamp_key] if timestamp_key else None, 0),
    )
    _new(out)
    _write(state(ctx).out, out, found, key, password_file)


@app.command()
def manifest(
    ctx: typer.Context,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Firmware image file.")],
    *,
    device_class: Annotated[str, typer.Option("--class", metavar="CLASS", help="Device class of the image.")],
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Display version.")],
    sequence: Annotated[
        int,
        typer.Option(
            "--sequence", min=1, max=UINT32_MAX, help="Release number, greater than that of earlier releases."
        ),
    ],
    slot_size: Annotated[
        int, typer.Option("--slot-size", min=1, max=UINT32_MAX, help="Slot size of the devices, in bytes.")
    ],
    out: Out,
    counter: Annotated[
        int,
        typer.Option(
            "--counter", min=0, max=UINT32_MAX, help="Security counter; raise it to invalidate older releases."
        ),
    ] = 1,
    chunk: Annotated[
        int, typer.Option("--chunk", min=256, max=2048, help="Chunk size in bytes, a power of two.")
    ] = 512,
    days: Annotated[int, typer.Option("--days", min=1, max=MAX_DAYS, help="Days until it expires.")] = 365,
    precursor: Annotated[
        Path | None, typer.Option("--from", metavar="IMAGE", help="Older image to create a signed patch from.")
    ] = None,
    patch: Annotated[Path | None, typer.Option("--patch", metavar="FILE", help="Output file of that patch.")] = None,
    key: Keys = None,
    password_file: PasswordFile = None,
) -> None:
    """Create the release manifest of an image.

    Without --from, the service creates patches on demand; those are not signed.

    Example:
    - `ygg ota manifest fw.bin --class sim-board --version 2.1.0 --sequence 7 --slot-size 1048576 -o 7.release`
    """
    from ygg.ota import metadata

    blank = Manifest(
        device_class, version, sequence, counter, slot_size, 0, b"", chunk, b"", int(time.time()) + days * DAY_S
    )
    trust.check_manifest(metadata.make_manifest(b"\0", blank))  # validate the options before reading a large file
    data = image.read_bytes()
    found = metadata.make_manifest(data, blank)
    if precursor and patch:
        old = precursor.read_bytes()
        made = metadata.make_patch(old, data)
        found = metadata.with_patch(found, old, made)
        write_atomic(patch, made, PUBLIC)
    elif precursor or patch:
        raise UsageError("--from and --patch must be given together")
    _write(state(ctx).out, out, found, key, password_file)


@app.command()
def sign(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Root or manifest.")],
    *,
    key: Keys = None,
    password_file: PasswordFile = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Output file; default: sign in place.")
    ] = None,
) -> None:
    """Add signatures to a root or a manifest and show its content.

    Example:
    - `ygg ota sign 7.release --key release-anna.key`
    """
    from ygg.ota import metadata

    if not key:
        raise UsageError("no key given; pass --key FILE")
    found = metadata.read(path)
    _write(state(ctx).out, out or path, found.body, key, password_file, found.envelope)


@app.command()
def inspect(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Root or manifest.")],
    root: Annotated[Path | None, typer.Option("--root", metavar="FILE", help="Root to verify the signatures.")] = None,
) -> None:
    """Show the content and signatures of a root or a manifest.

    Exit code 1 if it is invalid. Signatures of a manifest are verified only with --root.

    Example:
    - `ygg ota inspect 7.release --root 1.root`
    """
    from ygg.ota import facts, metadata

    out = state(ctx).out
    found = metadata.read(path)
    trusted_root = metadata.read_root(root)[0] if root else found.body if isinstance(found.body, Root) else None
    problems = facts.problems(found, trusted_root, int(time.time()))
    _show(out, path, found, trusted_root, {"valid": not problems})
    if problems:
        raise CliError(f"{path} is invalid: {'; '.join(problems)}")


def _new(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} already exists", hint="A signed root is never overwritten. Choose another file.")


def _write(
    out: Output,
    path: Path,
    body: Root | Manifest,
    key: list[Path] | None,
    password_file: Path | None,
    envelope: trust.Envelope | None = None,
) -> None:
    from ygg.ota import keys, metadata

    role = Role.ROOT if isinstance(body, Root) else Role.RELEASE
    secret = password(password_file)

    def load(path: Path) -> ec.EllipticCurvePrivateKey:
        prompt = not secret and keys.is_encrypted(path)
        return keys.load(path, _typed(f"password of {path}") if prompt else secret)

    signed = metadata.sign(role, envelope or metadata.unsigned(body), [load(each) for each in key or ()])
    metadata.write(path, role, signed)
    _show(out, path, metadata.Found(role, signed, body), body if isinstance(body, Root) else None)


def _show(
    out: Output, path: Path, found: Found, trusted_root: Root | None, more: Mapping[str, Any] = MappingProxyType({})
) -> None:
    from ygg.ota import facts

    data = {**facts.describe(found, trusted_root), **more}
    if out.as_json:
        out.json({"file": str(path), **data})
        return
    for line in facts.lines(data):
        out.line(line)
