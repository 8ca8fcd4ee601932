"""The passphrase that protects the private keys of root and CAs, so that nothing that runs beside them can use them.

Owns where it comes from: a file, $YGG_CA_PASSPHRASE, the terminal; for new keys, if none is given, it is generated and
shown once. It is never stored.
"""

from __future__ import annotations

import base64
import getpass
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ygg.exits import CliError, UsageError

VARIABLE = "YGG_CA_PASSPHRASE"
MIN_CHARACTERS = 12
"""PKCS #8 stretches a passphrase little, so a short one could be guessed from the file."""
_GENERATED_BYTES = 15
_GROUP = 6

Show = Callable[[str], None]


class CaPassphrase:
    """The passphrase as this process can have it. `show` is called with one that was generated."""

    def __init__(self, show: Show, file: Path | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._show, self._file, self._environ = show, file, environ

    def new(self) -> bytes:
        """Return the passphrase for keys about to be made. Raises UsageError if the given one is too short."""
        given = self._given()
        if given is None:
            given = generate()
            self._show(given.decode())
        elif len(given.decode()) < MIN_CHARACTERS:
            raise UsageError(
                f"the CA passphrase has {len(given.decode())} characters", hint=f"Use at least {MIN_CHARACTERS}."
            )
        return given

    def get(self) -> bytes:
        """Return the passphrase of keys that are there; asks for it on a terminal. Raises CliError without either."""
        given = self._given()
        if given is not None:
            return given
        if not sys.stdin.isatty():
            raise CliError(
                "the CA keys are protected by a passphrase, and stdin is not a terminal",
                hint=f"Give it with --ca-passphrase-file FILE or in ${VARIABLE}.",
            )
        return getpass.getpass("CA passphrase: ").encode()

    def _given(self) -> bytes | None:
        if self._file is not None:
            try:
                return self._file.read_text(encoding="utf-8").strip().encode()
            except (OSError, UnicodeDecodeError) as e:
                why = e.strerror if isinstance(e, OSError) else "not UTF-8 text"
                raise CliError(f"cannot read the CA passphrase from {self._file}: {why}") from e
        value = self._environ.get(VARIABLE, "")
        return value.encode() if value else None


def generate() -> bytes:
    """Return a passphrase of 120 random bits in groups that can be read aloud: `k3mqra-…`."""
    text = base64.b32encode(secrets.token_bytes(_GENERATED_BYTES)).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP)).encode()
