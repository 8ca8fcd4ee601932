"""`ygg pki`: certificate authorities of the mesh and issued certificates. Local files only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ygg.cli.ca import PassphraseFile, passphrase
from ygg.cli.ca import show as show_passphrase
from ygg.cli.state import State, state
from ygg.contexts import LOCAL
from ygg.exits import CliError, UsageError
from ygg.mesh import bootstrap
from ygg.mesh.layout import Layout
from ygg.mesh.natsconf import NatsPlan
from ygg.output import duration
from ygg.pki import identities
from ygg.pki.hosts import host_name, hosts, ip_address
from ygg.pki.identities import Owner
from ygg.pki.names import Kind, identity
from ygg.pki.passphrase import CaPassphrase
from ygg.pki.store import Store, utc_now
from ygg.pki.x509 import LEAF_DAYS, Names

app = typer.Typer(
    help="Manage certificate authorities and issue certificates for devices, services and users.", no_args_is_help=True
)

Dir = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="PKI directory; default: the mesh of the context.")
]


def _layout_of(st: State) -> Layout:
    """Return the layout of the context's mesh if it is on this machine, else that of $YGG_HOME."""
    mesh = st.context()[1].mesh
    return Layout(Path(mesh)) if mesh else Layout(st.home.mesh)


def _pki_of(st: State) -> Path:
    """Return the PKI of the context's mesh. Raises CliError if that mesh is remote."""
    name, context = st.context()
    if not context.mesh:
        raise CliError(
            f"the PKI of context {name} is not on this machine",
            hint=f"Run the command on the host of that PKI, or pass --dir DIR. "
            f"For the mesh of this machine, pass --context {LOCAL}.",
        )
    return _layout_of(st).root / "pki"


@app.command()
def init(
    ctx: typer.Context,
    directory: Dir = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing PKI; its certificates become invalid.")
    ] = False,
    ca_passphrase_file: PassphraseFile = None,
) -> None:
    """Create the root and the device, service and user CAs, with encrypted keys.

    Unless you pass a passphrase, one is generated and shown once; it is required to issue certificates. Move the root
    key offline afterwards: issuing does not need it.

    Example:
    - `ygg pki init --dir ./pki`
    """
    st = state(ctx)
    generated: list[str] = []
    secret = CaPassphrase(generated.append, ca_passphrase_file)
    store = Store.create(directory or _pki_of(st), force=force, passphrase=secret.new)
    if st.out.as_json:
        end = store.root().not_valid_after_utc.isoformat()
        st.out.json({"dir": str(store.path), "root_not_after": end, "ca_passphrase": next(iter(generated), None)})
        return
    for text in generated:
        show_passphrase(st, text)
    st.out.line(f"created root, device CA, service CA and user CA in {store.path}")
    st.out.line(f"next: move {store.root_key_path()} offline, then issue certificates with `ygg pki issue`")


@app.command()
def issue(
    ctx: typer.Context,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="device, service or user.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Id, such as porch-1.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Identity directory to write.")] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=1825, help="Validity in days.")] = LEAF_DAYS,
    dns: Annotated[
        list[str] | None, typer.Option("--dns", metavar="NAME", help="Additional host name of a service; repeatable.")
    ] = None,
    ip: Annotated[
        list[str] | None, typer.Option("--ip", metavar="IP", help="Additional IP address of a service; repeatable.")
    ] = None,
    directory: Dir = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing identity.")] = False,
    ca_passphrase_file: PassphraseFile = None,
) -> None:
    """Issue a key and a certificate.

    Writes an identity directory.

    Examples:
    - `ygg pki issue device porch-1`
    - `ygg pki issue service loki --dns loki.lan --ip 10.0.0.7`
    - `ygg pki issue user anna --out ~/anna`
    """
    st = state(ctx)
    subject = identity(kind, name)
    store = Store(directory or _pki_of(st), passphrase=passphrase(st, ca_passphrase_file).get)
    path = (out or _layout_of(st).identity(kind, name)).absolute()
    names = Names([host_name(name) for name in dns or ()], [ip_address(text) for text in ip or ()])
    pair = identities.issue(store, subject, path, names, days, force=force)
    end = pair.cert.not_valid_after_utc
    if st.out.as_json:
        st.out.json({"identity": subject.uri, "dir": str(path), "not_after": end.isoformat()})
        return
    st.out.line(f"issued {subject.uri} to {path}, expires {end:%Y-%m-%d}")
    if kind is Kind.DEVICE:
        files = f"--ca {path}/services.pem --cert {path}/cert.pem --key {path}/key.pem"
        st.out.remark(f"Connect the device:  ygg-agent --id {name} --connect HOST:7443 {files}", "dim")


@app.command()
def protect(ctx: typer.Context, directory: Dir = None, ca_passphrase_file: PassphraseFile = None) -> None:
    """Encrypt unencrypted keys of root and CAs.

    If some keys are already encrypted, the passphrase must be the same.

    Example:
    - `ygg pki protect`
    """
    st = state(ctx)
    store = Store(directory or _pki_of(st))
    generated: list[str] = []
    secret = CaPassphrase(generated.append, ca_passphrase_file)
    names = store.protect(secret.new, secret.get)
    if st.out.as_json:
        st.out.json({"dir": str(store.path), "encrypted": names, "ca_passphrase": next(iter(generated), None)})
        return
    for text in generated:
        show_passphrase(st, text)
    st.out.line(f"encrypted {', '.join(names)}" if names else "no unencrypted keys")


@app.command()
def show(ctx: typer.Context, directory: Dir = None) -> None:
    """Show CAs, issued certificates and the state of the root key."""
    st = state(ctx)
    store = Store(directory or _pki_of(st))
    root_here = store.root_key_path().exists()
    if st.out.as_json:
        _show_json(st, store, root_here)
        return
    now = utc_now()
    rows = [("root", "-", f"{store.root().not_valid_after_utc:%Y-%m-%d}", "self-signed")]
    rows += [(f"{kind} CA", "-", f"{store.ca(kind).not_valid_after_utc:%Y-%m-%d}", "signed by root") for kind in Kind]
    for entry in store.issued():
        left = (entry.not_after - now).total_seconds()
        note = f"{duration(left)} left" if left > 0 else "expired"
        rows.append((entry.uri, entry.serial[:16], f"{entry.not_after:%Y-%m-%d}", note))
    st.out.table(("CERTIFICATE", "SERIAL", "EXPIRES", "NOTE"), rows, optional=("SERIAL",))
    st.out.line("root key: on this machine; move it offline" if root_here else "root key: not on this machine")


@app.command("bootstrap", hidden=True)
def bootstrap_command(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Output directory.")],
    *,
    target: Annotated[str, typer.Option("--for", help="Environment; only `compose` is supported.")] = "compose",
    device: Annotated[list[str] | None, typer.Option("--device", help="Device to issue for; repeatable.")] = None,
    nats_identity: Annotated[Path, typer.Option(help="Identity directory in the container of nats-server.")] = Path(
        "/identity"
    ),
    nats_store: Annotated[Path, typer.Option(help="JetStream directory in the container of nats-server.")] = Path(
        "/data"
    ),
    owner: Annotated[str, typer.Option(help="UID:GID to own the identity files; needs root.")] = "",
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Host name or IP of the bridge for devices; repeatable.")
    ] = None,
) -> None:
    """Create PKI, identities and nats.conf for a mesh in containers. Idempotent."""
    if target != "compose":
        raise UsageError(f"invalid --for {target!r}", hint="Expected compose; `ygg up` needs no bootstrap.")
    what = bootstrap.Bootstrap(
        devices=tuple(device or bootstrap.DEMO_DEVICES),
        users=(bootstrap.USER, bootstrap.SECOND_USER),
        owner=_owner(owner),
        hosts=hosts(host or ()),
    )
    plan = NatsPlan("0.0.0.0:4222", "127.0.0.1:8222", nats_identity, nats_store, kept=True)
    issued = bootstrap.run(out.absolute(), what, plan)
    st = state(ctx)
    if st.out.as_json:
        st.out.json({"out": str(out.absolute()), "issued": [subject.uri for subject in issued]})
        return
    st.out.line(
        f"issued {len(issued)}: {', '.join(subject.uri for subject in issued)}" if issued else "everything exists"
    )


def _show_json(st: State, store: Store, root_here: bool) -> None:
    authorities = {str(kind): store.ca(kind).not_valid_after_utc.isoformat() for kind in Kind}
    issued = [
        {
            "serial": e.serial,
            "identity": e.uri,
            "not_before": e.not_before.isoformat(),
            "not_after": e.not_after.isoformat(),
        }
        for e in store.issued()
    ]
    root_end = store.root().not_valid_after_utc.isoformat()
    st.out.json({"root_not_after": root_end, "root_key_here": root_here, "cas": authorities, "issued": issued})


def _owner(text: str) -> Owner | None:
    if not text:
        return None
    uid, _, gid = text.partition(":")
    if not (uid.isdigit() and (gid.isdigit() or not gid)):
        raise UsageError(f"invalid --owner {text!r}", hint="Expected a numeric UID:GID, such as 10001:10001.")
    return Owner(int(uid), int(gid or uid))
