"""HOST:PORT as text, with IPv6 addresses in brackets (RFC 3986, 3.2.2): parsing and formatting. Pure."""

from __future__ import annotations

import ipaddress
import re

from services.domain.errors import InvalidRequestError

MAX_PORT = 65_535
_PARTS = re.compile(r"(?:\[([^\[\]]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})\Z")


def split(text: str) -> tuple[str, int]:
    """Return host, without brackets, and port (0 to 65535). Raises InvalidRequestError."""
    match = _PARTS.match(text)
    if match and int(match[3]) <= MAX_PORT and (match[1] is None or _is_ipv6(match[1])):
        return match[1] or match[2], int(match[3])
    raise InvalidRequestError(
        "must be HOST:PORT, such as 127.0.0.1:50051" + (f" or [::1]:50051, not {text[:80]!r}" if ":" in text else "")
    )


def join(host: str, port: int) -> str:
    """Return HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
