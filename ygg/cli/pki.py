"""`ygg pki`: the mesh's certificate authorities and what they issue. Local files only."""

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
from ygg.output import ago
from ygg.pki import identities
from ygg.pki.hosts import host_name, hosts, ip_address
from ygg.pki.identities import Owner
from ygg.pki.names import Kind, identity
from ygg.pki.passphrase import CaPassphrase
from ygg.pki.store import Store, utc_now
from ygg.pki.x509 import LEAF_DAYS, Names

app = typer.Typer(
    help="Certificates: make the authorities, issue to devices, services and people.", no_args_is_help=True
)

Dir = Annotated[Path | None, typer.Option("--dir", help="The PKI directory; that of the context's mesh if not given.")]


def _layout_of(st: State) -> Layout:
    """The mesh of the context, if it is one of this machine, else that of $YGG_HOME."""
    mesh = st.context()[1].mesh
    return Layout(Path(mesh)) if mesh else Layout(st.home.mesh)


def _pki_of(st: State) -> Path:
    """The PKI of the context's mesh. Raises CliError if that is elsewhere: another PKI would be of another mesh."""
    name, context = st.context()
    if not context.mesh:
        raise CliError(
            f"the PKI of context {name} is not known here",
            hint=f"Run it where that PKI is, or name its directory:  --dir DIR. "
            f"For the mesh of this machine:  --context {LOCAL}",
        )
    return _layout_of(st).root / "pki"


@app.command()
def init(
    ctx: typer.Context,
    directory: Dir = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a PKI that is there: its certificates end.")] = False,
    ca_passphrase_file: PassphraseFile = None,
) -> None:
    """Make the root and the device, service and user CAs. Their keys are encrypted.

    Unless you give a passphrase, one is generated and shown once; issuing certificates asks for it.

    Example:  `ygg pki init --dir ./pki`, then take ./pki/root.key offline: issuing does not need it.
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
    st.out.line(f"made root, device CA, service CA and user CA in {store.path}")
    st.out.line(f"next: take {store.root_key_path()} offline; ygg pki issue device porch-1")


@app.command()
def issue(
    ctx: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What it is for.")],
    name: Annotated[str, typer.Argument(help="Its id, such as porch-1.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", help="Identity directory to write.")] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=1825, help="How long it is valid.")] = LEAF_DAYS,
    dns: Annotated[list[str] | None, typer.Option("--dns", help="Further host name (services); repeatable.")] = None,
    ip: Annotated[list[str] | None, typer.Option("--ip", help="Further IP address (services); repeatable.")] = None,
    directory: Dir = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an identity that is there.")] = False,
    ca_passphrase_file: PassphraseFile = None,
) -> None:
    """Issue a key and a certificate, as an identity directory.

    Examples:  `ygg pki issue device porch-1`   `ygg pki issue service loki --dns loki.lan --ip 10.0.0.7`
    `ygg pki issue user anna --out ~/anna`
    """
    st = state(ctx)
    who = identity(kind, name)
    store = Store(directory or _pki_of(st), passphrase=passphrase(st, ca_passphrase_file).get)
    path = (out or _layout_of(st).identity(kind, name)).absolute()
    names = Names([host_name(name) for name in dns or ()], [ip_address(text) for text in ip or ()])
    pair = identities.issue(store, who, path, names, days, force=force)
    end = pair.cert.not_valid_after_utc
    if st.out.as_json:
        st.out.json({"identity": who.uri, "dir": str(path), "not_after": end.isoformat()})
        return
    st.out.line(f"{who.uri} in {path}, valid to {end:%Y-%m-%d}")
    if kind is Kind.DEVICE:
        files = f"--ca {path}/services.pem --cert {path}/cert.pem --key {path}/key.pem"
        st.out.remark(f"connect it:  ygg-agent --id {name} --connect HOST:7443 {files}", "dim")


@app.command()
def protect(ctx: typer.Context, directory: Dir = None, ca_passphrase_file: PassphraseFile = None) -> None:
    """Encrypt the keys of root and CAs that are still readable.

    Use the passphrase of the keys that are encrypted already, if there are any.

    Example:  `ygg pki protect`
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
    st.out.line(f"encrypted {', '.join(names)}" if names else "every key is encrypted already, or not here")


@app.command()
def show(ctx: typer.Context, directory: Dir = None) -> None:
    """Show the authorities, where the root's key is, and what was issued."""
    st = state(ctx)
    store = Store(directory or _pki_of(st))
    root_here = store.root_key_path().exists()
    if st.out.as_json:
        _show_json(st, store, root_here)
        return
    now = utc_now()
    rows = [("root", "-", f"{store.root().not_valid_after_utc:%Y-%m-%d}", "the root")]
    rows += [(f"{kind} CA", "-", f"{store.ca(kind).not_valid_after_utc:%Y-%m-%d}", "signed by root") for kind in Kind]
    for entry in store.issued():
        left = (entry.not_after - now).total_seconds()
        note = f"{ago(left)} left" if left > 0 else "expired"
        rows.append((entry.uri, entry.serial[:16], f"{entry.not_after:%Y-%m-%d}", note))
    st.out.table(("CERTIFICATE", "SERIAL", "VALID TO", "NOTE"), rows, optional=("SERIAL",))
    where = "is here; issuing does not need it, so take it offline" if root_here else "is not here, as it should be"
    st.out.line(f"the root's key {where}")


@app.command("bootstrap", hidden=True)
def bootstrap_command(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(help="Where to make it.")],
    *,
    target: Annotated[str, typer.Option("--for", help="What runs there; only `compose` is known.")] = "compose",
    device: Annotated[list[str] | None, typer.Option("--device", help="Device to issue for; repeatable.")] = None,
    nats_identity: Annotated[Path, typer.Option(help="Identity of nats as nats-server will see it.")] = Path(
        "/identity"
    ),
    nats_store: Annotated[Path, typer.Option(help="JetStream's folder as nats-server will see it.")] = Path("/data"),
    owner: Annotated[str, typer.Option(help="UID:GID to own the identity files; needs root.")] = "",
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Name or IP by which devices reach the bridge.")
    ] = None,
) -> None:
    """Make PKI, all identities and nats.conf for a mesh in containers. Idempotent."""
    if target != "compose":
        raise UsageError(f"--for {target} is not known", hint="It takes compose; `ygg up` needs no bootstrap.")
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
        st.out.json({"out": str(out.absolute()), "issued": [who.uri for who in issued]})
        return
    st.out.line(f"issued {len(issued)}: {', '.join(who.uri for who in issued)}" if issued else "all there already")


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
        raise UsageError(f"--owner is {text!r}", hint="It takes UID:GID in numbers, such as 10001:10001.")
    return Owner(int(uid), int(gid or uid))
