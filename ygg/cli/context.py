"""`ygg context`: the known meshes and the current one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ygg.cli.state import state
from ygg.contexts import LOCAL, Context, Contexts, updated
from ygg.exits import CliError, UsageError
from ygg.output import duration

app = typer.Typer(help="Switch between meshes and configure their endpoints.", no_args_is_help=True)


@app.command("ls")
def list_contexts(ctx: typer.Context) -> None:
    """List contexts; `*` marks the current one."""
    st = state(ctx)
    contexts = Contexts(st.home)
    if st.out.as_json:
        st.out.json(
            [{"name": n, "current": n == contexts.current, **asdict(c)} for n, c in sorted(contexts.all.items())]
        )
        return
    rows = [
        ("*" if name == contexts.current else "", name, context.registry, context.identity)
        for name, context in sorted(contexts.all.items())
    ]
    st.out.table(("", "CONTEXT", "REGISTRY", "IDENTITY"), rows, optional=("REGISTRY",))


@app.command()
def use(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="Context name.")]) -> None:
    """Set the current context."""
    st = state(ctx)
    Contexts(st.home).use(name)
    if not st.out.as_json:
        st.out.line(f"current context: {name}")


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Context name; default: the current one.")] = "",
) -> None:
    """Show the endpoints of a context and your identity."""
    st = state(ctx)
    name, context = Contexts(st.home).get(name or st.context_name)
    identity, remark = _identity_of(Path(context.identity))
    if st.out.as_json:
        st.out.json({"name": name, **asdict(context), "whoami": identity, "identity_state": remark})
        return
    rows = [(key, value) for key, value in asdict(context).items() if value]
    st.out.table(("CONTEXT", name), [*rows, ("user", f"{identity} ({remark})" if identity else remark)])


@app.command("set")
def set_context(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Context name.")],
    *,
    identity: Annotated[
        str | None, typer.Option(metavar="DIR", help="Identity directory of a user or service.")
    ] = None,
    registry: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    bridge: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    loki: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    ota: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    link: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Endpoint for devices.")] = None,
    nats_monitor: Annotated[str | None, typer.Option(metavar="URL", help="Health endpoint of nats-server.")] = None,
) -> None:
    """Add or change a context.

    Omitted options keep their value; in a new context they default to the standard port on 127.0.0.1.

    Example:
    - `ygg context set compose --identity ./var/compose/identities/user/operator`
    """
    st = state(ctx)
    contexts = Contexts(st.home)
    before = contexts.all.get(name) or Context(identity=str(st.home.identity("user", "operator")))
    changes = {"identity": identity, "registry": registry, "jotunheim_bridge": bridge, "loki": loki, "ota": ota}
    contexts.put(name, updated(before, **changes, link=link, nats_monitor=nats_monitor))
    if not st.out.as_json:
        st.out.line(f"context {name} saved; use it:  ygg context use {name}   or   ygg --context {name} …")


@app.command("rm")
def remove_context(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="Context name.")]
) -> None:
    """Remove a context.

    The mesh and the identity are not touched. If it was the current context, `local` becomes current.

    Example:
    - `ygg context rm compose`
    """
    st = state(ctx)
    contexts = Contexts(st.home)
    contexts.get(name)
    if name == LOCAL:
        raise UsageError("cannot remove local, the mesh of this machine", hint="Stop the mesh:  ygg down")
    contexts.remove(name)
    if st.out.as_json:
        st.out.json({"removed": name, "current": contexts.current})
        return
    st.out.line(f"context {name} removed; current context: {contexts.current}")


def _identity_of(path: Path) -> tuple[str, str]:
    """Return the identity in `path` and its validity."""
    from ygg.pki import identities
    from ygg.pki.store import utc_now
    from ygg.pki.x509 import identity_uri

    try:
        leaf = identities.leaf_of(path)
    except CliError as e:
        return "", e.message
    left = (leaf.not_valid_after_utc - utc_now()).total_seconds()
    return identity_uri(leaf), f"valid for {duration(left)}" if left > 0 else "expired"
