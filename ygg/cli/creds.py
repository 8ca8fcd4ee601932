"""`ygg creds` and `ygg grpcurl`: credentials of a context for other gRPC clients."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from ygg.cli.state import state
from ygg.contexts import SERVICES, no_identity_hint
from ygg.exits import CliError, Exit


def register(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command("creds")(creds)
    app.command("grpcurl")(grpcurl)


def creds(ctx: typer.Context) -> None:
    """Show the credential files and endpoints for other gRPC clients.

    Example:
    - `ygg --json creds` # ca, cert, key and endpoints
    """
    st = state(ctx)
    name, context = st.context()
    files = _files(Path(context.identity), name)
    endpoints = {service: context.endpoint(service) for service in SERVICES}
    if st.out.as_json:
        st.out.json({"context": name, **files, "endpoints": endpoints})
        return
    st.out.table(("CREDENTIALS", name), [*files.items(), *endpoints.items()])


def grpcurl(ctx: typer.Context) -> None:
    """Print the TLS flags for grpcurl.

    Example:
    - `grpcurl $(ygg grpcurl) localhost:50051 list`
    """
    st = state(ctx)
    name, context = st.context()
    files = _files(Path(context.identity), name)
    flags = ["-cacert", files["ca"], "-cert", files["cert"], "-key", files["key"]]
    if st.out.as_json:
        st.out.json(flags)
        return
    print(shlex.join(flags))


def _files(identity: Path, name: str) -> dict[str, str]:
    files = {"ca": identity / "services.pem", "cert": identity / "cert.pem", "key": identity / "key.pem"}
    missing = [str(path) for path in files.values() if not path.exists()]
    if missing:
        raise CliError(
            f"file not found: {missing[0]} (context {name})",
            hint=no_identity_hint(name),
            code=Exit.DENIED,
        )
    return {key: str(path) for key, path in files.items()}
