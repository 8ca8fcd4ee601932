"""The ports of an embedded mesh: the defaults or random free ones, and a check for conflicts."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from ygg.exits import CliError

LOOPBACK = "127.0.0.1"
_LOWEST = 10_000
_RANGE, _USUAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range"), 32_768
ANY = "0.0.0.0"  # noqa: S104 - devices are on other machines; the link requires their certificates


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports. `link`, `enrol` and `images` are for devices; all others listen on the loopback interface."""

    registry: int = 50051
    jotunheim_bridge: int = 50052
    loki: int = 50053
    ota: int = 50054
    link: int = 7443
    enrol: int = 7445
    images: int = 7444
    nats: int = 4222
    nats_monitor: int = 8222


def free_ports() -> Ports:
    """Return distinct ports that are currently free on 127.0.0.1."""
    names = list(asdict(Ports()))
    return Ports(**dict(zip(names, draw(len(names)), strict=True)))


def draw(count: int) -> list[int]:
    """Return free ports of 127.0.0.1 below the kernel's ephemeral range.

    An ephemeral port could be taken by any outgoing connection before a server listens on it.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = _LOWEST + secrets.randbelow(_first_outgoing() - _LOWEST)
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind((LOOPBACK, port))
                found.append(port)
    return found


def _first_outgoing() -> int:
    try:
        return max(int(_RANGE.read_text().split()[0]), 2 * _LOWEST)
    except (OSError, ValueError, IndexError):
        return _USUAL_RANGE


def check_free(ports: Ports, link_host: str) -> None:
    """Raise CliError with all ports that are in use, if any."""
    taken = []
    for name, port in asdict(ports).items():
        if not _is_free(link_host if name in ("link", "enrol", "images") else LOOPBACK, port):
            taken.append(f"{port} ({name})")
    if taken:
        raise CliError(
            f"port{'s' if len(taken) > 1 else ''} already in use: {', '.join(taken)}",
            hint="Choose free ports:  ygg up --free-ports      Find the process:  ss -ltnp",
        )


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, port))
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                return False
            raise CliError(f"cannot listen on {host}:{port}: {e.strerror}") from e
    return True
