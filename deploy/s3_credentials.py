"""Create the S3 credentials of the compose profile `s3` once, and keep them.

    s3_credentials.py SERVER_DIR CLIENT_DIR

    SERVER_DIR/s3.json            credentials accepted by SeaweedFS
    CLIENT_DIR/access, secret     credentials of ota

The files are random, with mode 0600 and one owner for each folder. The client's
files are authoritative: s3.json is rewritten from them every time, so an
interrupted first start is repaired by the next.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

_BYTES = 24
_MODE = 0o600


def keep(path: Path) -> str:
    """Return the content of `path`, writing a random value first if it is missing or empty."""
    if path.exists() and (text := path.read_text(encoding="ascii").strip()):
        return text
    text = secrets.token_hex(_BYTES)
    write(path, text + "\n")
    return text


def write(path: Path, text: str) -> None:
    """Replace `path` atomically; it is never readable by others."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=_MODE)
    temporary.write_text(text, encoding="ascii")
    temporary.replace(path)


def server_config(access: str, secret: str) -> str:
    """Return the identities of SeaweedFS: ota only, no anonymous access."""
    credentials = [{"accessKey": access, "secretKey": secret}]
    return json.dumps({"identities": [{"name": "ota", "credentials": credentials, "actions": ["Admin"]}]})


def main(server: str, client: str) -> None:
    """Create missing files and rewrite s3.json."""
    access, secret = keep(Path(client) / "access"), keep(Path(client) / "secret")
    write(Path(server) / "s3.json", server_config(access, secret) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
