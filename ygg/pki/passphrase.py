"""The passphrase that encrypts the private keys of root and CAs, so that other processes cannot use them.

Owns its sources: a file, $YGG_CA_PASSPHRASE, the terminal. For new keys it is generated and shown once if none is
given. It is never stored.
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
"""Minimum length: PKCS #8 key stretching is weak, so a short passphrase could be brute-forced."""
_GENERATED_BYTES = 15
_GROUP = 6

Show = Callable[[str], None]


class CaPassphrase:
    """Obtains the passphrase. `show` is called with a generated one."""

    def __init__(self, show: Show, file: Path | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._show, self._file, self._environ = show, file, environ

    def new(self) -> bytes:
        """Return the passphrase for new keys. Raises UsageError if the given one is too short."""
        given = self._given()
        if given is None:
            given = generate()
            self._show(given.decode())
        elif len(given.decode()) < MIN_CHARACTERS:
            raise UsageError(
                f"CA passphrase too short: {len(given.decode())} characters, minimum {MIN_CHARACTERS}",
                hint="Use a longer one, or omit it to have one generated.",
            )
        return given

    def get(self) -> bytes:
        """Return the passphrase of existing keys; prompt if none is given. Raises CliError without a terminal."""
        given = self._given()
        if given is not None:
            return given
        if not sys.stdin.isatty():
            raise CliError(
                "CA passphrase required, but stdin is not a terminal",
                hint=f"Pass --ca-passphrase-file FILE or set ${VARIABLE}.",
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
    """Return a passphrase of 120 random bits in groups of six characters: `k3mqra-…`."""
    text = base64.b32encode(secrets.token_bytes(_GENERATED_BYTES)).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP)).encode()
