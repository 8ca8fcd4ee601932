"""The option for the CA passphrase, shared by `ygg up` and `ygg pki`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ygg.cli.state import State
from ygg.pki.passphrase import VARIABLE, CaPassphrase

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--ca-passphrase-file", metavar="FILE", help=f"CA passphrase file; or set ${VARIABLE}."),
]


def passphrase(st: State, file: Path | None) -> CaPassphrase:
    """Return the passphrase source of a command; a generated passphrase is shown once."""
    return CaPassphrase(lambda text: show(st, text), file)


def show(st: State, text: str) -> None:
    """Show a generated passphrase."""
    if st.out.as_json:
        st.out.record({"event": "ca_passphrase", "ca_passphrase": text})
        return
    st.out.line(f"CA passphrase: {text}")
    st.out.line("Save it now: it is not shown again, and is required to issue and renew certificates.")
