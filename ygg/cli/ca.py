"""The option for the passphrase of the CA keys, shared by the commands that make or use them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ygg.cli.state import State
from ygg.pki.passphrase import VARIABLE, CaPassphrase

PassphraseFile = Annotated[
    Path | None,
    typer.Option("--ca-passphrase-file", help=f"File with the passphrase of the CA keys; or set ${VARIABLE}."),
]


def passphrase(st: State, file: Path | None) -> CaPassphrase:
    """The passphrase as this command can have it; a generated one is shown once."""
    return CaPassphrase(lambda text: show(st, text), file)


def show(st: State, text: str) -> None:
    """Show a generated passphrase."""
    if st.out.as_json:
        st.out.record({"event": "ca_passphrase", "ca_passphrase": text})
        return
    st.out.line(f"CA passphrase: {text}")
    st.out.line("Write it down: it is shown only now. Issuing and renewing certificates asks for it.")
