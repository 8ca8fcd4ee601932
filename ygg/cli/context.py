"""`ygg context`: which meshes there are and which one commands speak to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ygg.cli.state import state
from ygg.contexts import LOCAL, Context, Contexts, changed
from ygg.exits import CliError, UsageError
from ygg.output import ago

app = typer.Typer(help="Meshes to speak to: this machine's, one in containers, another one.", no_args_is_help=True)


@app.command("ls")
def list_contexts(ctx: typer.Context) -> None:
    """List the contexts; `*` marks the current one."""
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
def use(ctx: typer.Context, name: Annotated[str, typer.Argument(help="The context.")]) -> None:
    """Make a context the current one."""
    st = state(ctx)
    Contexts(st.home).use(name)
    if not st.out.as_json:
        st.out.line(f"commands now speak to {name}")


@app.command()
def show(ctx: typer.Context, name: Annotated[str, typer.Argument(help="The context; the current one.")] = "") -> None:
    """Show a context: its endpoints, and who you are there."""
    st = state(ctx)
    name, context = Contexts(st.home).get(name or st.context_name)
    who, remark = _whoami(Path(context.identity))
    if st.out.as_json:
        st.out.json({"name": name, **asdict(context), "whoami": who, "identity_state": remark})
        return
    rows = [(key, value) for key, value in asdict(context).items() if value]
    st.out.table(("CONTEXT", name), [*rows, ("you are", f"{who} ({remark})" if who else remark)])


@app.command("set")
def set_context(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The context to add or change.")],
    *,
    identity: Annotated[str | None, typer.Option(help="Identity directory of a user or service.")] = None,
    registry: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    bridge: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    loki: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    ota: Annotated[str | None, typer.Option(metavar="HOST:PORT")] = None,
    link: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where devices connect.")] = None,
    nats_monitor: Annotated[str | None, typer.Option(metavar="URL", help="Health endpoint of nats-server.")] = None,
) -> None:
    """Add a context, or change one. What is not given stays, or is the default port on 127.0.0.1.

    Example:  `ygg context set compose --identity ./var/compose/identities/user/operator`
    """
    st = state(ctx)
    contexts = Contexts(st.home)
    before = contexts.all.get(name) or Context(identity=str(st.home.identity("user", "operator")))
    changes = {"identity": identity, "registry": registry, "jotunheim_bridge": bridge, "loki": loki, "ota": ota}
    contexts.put(name, changed(before, **changes, link=link, nats_monitor=nats_monitor))
    if not st.out.as_json:
        st.out.line(f"context {name} is set; use it:  ygg context use {name}   or   ygg --context {name} …")


@app.command("rm")
def remove_context(ctx: typer.Context, name: Annotated[str, typer.Argument(help="The context to forget.")]) -> None:
    """Forget a context; the mesh and the identity stay. If it was the current one, `local` is from now on.

    Example:  `ygg context rm compose`
    """
    st = state(ctx)
    contexts = Contexts(st.home)
    contexts.get(name)
    if name == LOCAL:
        raise UsageError("local is the mesh of this machine and always there", hint="To stop that mesh:  ygg down")
    contexts.remove(name)
    if st.out.as_json:
        st.out.json({"removed": name, "current": contexts.current})
        return
    st.out.line(f"context {name} is forgotten; commands speak to {contexts.current}")


def _whoami(path: Path) -> tuple[str, str]:
    """The identity in `path` and a remark on its state."""
    from ygg.pki import identities
    from ygg.pki.store import utc_now
    from ygg.pki.x509 import identity_uri

    try:
        leaf = identities.leaf_of(path)
    except CliError as e:
        return "", e.message
    left = (leaf.not_valid_after_utc - utc_now()).total_seconds()
    return identity_uri(leaf), f"valid for {ago(left)}" if left > 0 else "expired"
