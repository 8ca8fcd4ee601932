"""Create the PKI, identities and nats.conf of a mesh before its first start.

    OUT/pki/                        root and CAs with their keys; no running process needs it
    OUT/identities/service/<id>/    registry jotunheim_bridge loki ota nats seaweedfs
    OUT/identities/device/<id>/     porch-1 porch-2
    OUT/identities/user/<name>/     operator, and a second one, auditor
    OUT/nats/nats.conf

Idempotent: valid files stay; missing, damaged or soon-to-expire ones are issued again. Safe to run concurrently.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ygg.files import locked, private_dir, write_atomic
from ygg.mesh.natsconf import NatsPlan, render
from ygg.pki import identities
from ygg.pki.identities import Owner
from ygg.pki.names import Identity, Kind, identity
from ygg.pki.passphrase import CaPassphrase
from ygg.pki.store import Clock, Store, utc_now
from ygg.pki.x509 import NO_NAMES, Names

SERVICES = ("registry", "jotunheim_bridge", "loki", "ota")
BACKENDS = ("nats", "seaweedfs")
USER = "operator"
SECOND_USER = "auditor"
DEMO_DEVICES = ("porch-1", "porch-2")
_BRIDGE = identity(Kind.SERVICE, "jotunheim_bridge")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Identities to issue besides those of services, and the owner of the files.

    `hosts` are the names under which devices reach the bridge; they go into its certificate.
    """

    devices: tuple[str, ...] = ()
    users: tuple[str, ...] = (USER,)
    owner: Owner | None = None
    hosts: Names = NO_NAMES


def run(
    out: Path,
    what: Bootstrap,
    nats: NatsPlan | None = None,
    clock: Clock = utc_now,
    passphrase: CaPassphrase | None = None,
) -> list[Identity]:
    """Create everything under `out`; return the identities that were issued.

    New keys of root and CAs are encrypted with the passphrase. Omit it only if no other process can read them, as in
    the volume of a container.
    """
    private_dir(out)
    with locked(out / ".bootstrap.lock"):
        pki = out / "pki"
        if (pki / "root.pem").exists():
            store = Store(pki, clock, passphrase.get if passphrase else None)
        else:
            store = Store.create(pki, clock, force=True, passphrase=passphrase.new if passphrase else None)
        issued = [subject for subject in _identities(what) if _ensure(store, subject, out, clock(), what)]
        if nats:
            path = private_dir(out / "nats") / "nats.conf"
            write_atomic(path, render(nats).encode())
        return issued


def identity_dir(out: Path, subject: Identity) -> Path:
    """Return the identity directory of `subject`."""
    return out / "identities" / str(subject.kind) / subject.id


def _identities(what: Bootstrap) -> Iterator[Identity]:
    for service in (*SERVICES, *BACKENDS):
        yield identity(Kind.SERVICE, service)
    for device in what.devices:
        yield identity(Kind.DEVICE, device)
    for user in what.users:
        yield identity(Kind.USER, user)


def _ensure(store: Store, subject: Identity, out: Path, now: dt.datetime, what: Bootstrap) -> bool:
    names = what.hosts if subject == _BRIDGE else NO_NAMES
    return identities.ensure(store, subject, identity_dir(out, subject), now=now, names=names, owner=what.owner)
