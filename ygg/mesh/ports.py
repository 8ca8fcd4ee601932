"""The ports of an embedded mesh: the fixed ones, or free ones, and who is in the way."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import asdict, dataclass

from ygg.exits import CliError

LOOPBACK = "127.0.0.1"
ANY = "0.0.0.0"  # noqa: S104 - devices are on other machines; the link asks for their certificates


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports; all but those of devices, `link`, `enrol` and `images`, on the loopback interface."""

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
    """Ports of 127.0.0.1 that are free at this moment, all different."""
    names = list(asdict(Ports()))
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in names}
        for found in sockets.values():
            found.bind((LOOPBACK, 0))
        return Ports(**{name: int(found.getsockname()[1]) for name, found in sockets.items()})


def check_free(ports: Ports, link_host: str) -> None:
    """Raise CliError, naming all of them, where ports are taken."""
    taken = []
    for name, port in asdict(ports).items():
        if not _is_free(link_host if name in ("link", "enrol", "images") else LOOPBACK, port):
            taken.append(f"{port} ({name})")
    if taken:
        raise CliError(
            f"taken by another program: port{'s' if len(taken) > 1 else ''} {', '.join(taken)}",
            hint="Let ygg choose others:  ygg up --free-ports      Who has them:  ss -ltnp",
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
