"""The PKI of the benchmarks and its identities, kept under build/bench/pki from run to run.

Devices are issued in bulk: the same profile as `ygg pki issue device`, each with a key of its own, but without a lock
and a line in the list of issued certificates for each. About half a millisecond a device.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench.harness.machine import BUILD
from services.chassis.identity import IdentityFiles
from ygg.pki import identities, x509
from ygg.pki.names import Kind, identity
from ygg.pki.store import Store, utc_now
from ygg.pki.x509 import NO_NAMES, Pair


class BenchPki:
    """Made once; `make clean` takes it away."""

    def __init__(self, path: Path = BUILD / "pki") -> None:
        self.path = path
        made = (path / "ca" / "root.pem").exists()
        self.store = Store(path / "ca") if made else Store.create(path / "ca")

    def directory(self, kind: str, name: str) -> Path:
        """The identity directory of a service, a user or a device; issued where it is not good any more."""
        where = self.path / kind / name
        identities.ensure(self.store, identity(Kind(kind), name), where, now=utc_now())
        return where

    def files(self, kind: str, name: str) -> IdentityFiles:
        """The same as the chassis wants it."""
        return IdentityFiles(self.directory(kind, name))

    @property
    def devices(self) -> Path:
        """The folder with a folder for each device."""
        return self.path / "device"

    @property
    def service_ca(self) -> Path:
        """What devices trust."""
        return self.directory("user", "bench") / "services.pem"

    def broker_ca(self) -> Path:
        """What a broker needs to verify devices: it wants the chain up to the root."""
        path = self.path / "broker-ca.pem"
        path.write_bytes(x509.cert_pem(self.store.ca(Kind.DEVICE), self.store.root()))
        return path

    def issue_devices(self, prefix: str, count: int) -> float:
        """PREFIX-1 to PREFIX-COUNT; returns the seconds that the missing ones took."""
        started, now = time.monotonic(), utc_now()
        ca = self.store.ca(Kind.DEVICE)
        pair = Pair(ca, x509.load_key((self.store.path / "device-ca.key").read_bytes()))
        for index in range(1, count + 1):
            where = self.devices / f"{prefix}-{index}"
            if (where / "cert.pem").exists():
                continue
            leaf = x509.make_leaf(pair, identity(Kind.DEVICE, where.name), NO_NAMES, now)
            where.mkdir(parents=True, exist_ok=True, mode=0o700)
            (where / "key.pem").write_bytes(x509.key_pem(leaf.key))
            (where / "key.pem").chmod(0o600)
            (where / "cert.pem").write_bytes(x509.cert_pem(leaf.cert, ca))
        return time.monotonic() - started
