"""Validate host names and addresses for certificates. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from services.domain.ids import printable
from ygg.exits import UsageError
from ygg.pki.x509 import IpAddress, Names

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")


def hosts(words: Iterable[str]) -> Names:
    """Split words into host names and IP addresses. Raises UsageError."""
    dns: list[str] = []
    ips: list[IpAddress] = []
    for word in words:
        try:
            ips.append(ipaddress.ip_address(word))
        except ValueError:
            dns.append(host_name(word))
    return Names(tuple(dns), tuple(ips))


def host_name(word: str) -> str:
    """Return `word` if it is a host name (RFC 1123, and `_`), else raise UsageError."""
    if not _NAME.match(word):
        raise UsageError(f"invalid host name {printable(word)!r}", hint="Expected a name such as mesh.lan.")
    return word


def ip_address(word: str) -> IpAddress:
    """Parse an IPv4 or IPv6 address. Raises UsageError."""
    try:
        return ipaddress.ip_address(word)
    except ValueError:
        raise UsageError(
            f"invalid IP address {printable(word)!r}", hint="Expected an address such as 10.0.0.7 or fd00::7."
        ) from None
