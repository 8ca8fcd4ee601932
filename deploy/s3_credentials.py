"""Makes the S3 credentials of the compose profile `s3`, once, and keeps them.

    s3_credentials.py SERVER_DIR CLIENT_DIR

    SERVER_DIR/s3.json            what SeaweedFS accepts
    CLIENT_DIR/access, secret     what ota presents

Owns only these files: random, mode 0600, one owner for each folder. The
client's files are the truth and s3.json is written from them every time, so
an interrupted first start mends itself.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

_BYTES = 24
_MODE = 0o600


def keep(path: Path) -> str:
    """The content of `path`; a new random one is put there where it is missing or empty."""
    if path.exists() and (text := path.read_text(encoding="ascii").strip()):
        return text
    text = secrets.token_hex(_BYTES)
    write(path, text + "\n")
    return text


def write(path: Path, text: str) -> None:
    """Replaces `path` atomically; it is never readable by others."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=_MODE)
    beside.write_text(text, encoding="ascii")
    beside.replace(path)


def server_config(access: str, secret: str) -> str:
    """SeaweedFS's list of identities: ota alone, nobody anonymous."""
    credentials = [{"accessKey": access, "secretKey": secret}]
    return json.dumps({"identities": [{"name": "ota", "credentials": credentials, "actions": ["Admin"]}]})


def main(server: str, client: str) -> None:
    """Makes what is missing."""
    access, secret = keep(Path(client) / "access"), keep(Path(client) / "secret")
    write(Path(server) / "s3.json", server_config(access, secret) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
