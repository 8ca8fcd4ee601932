"""The PKI of the benchmarks and its identities, kept under build/bench/pki between runs.

Devices are issued in bulk: the same profile as `ygg pki issue device`, each with its own key, but without a lock and an
entry in the list of issued certificates for each. About half a millisecond per device.
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
    """Created once; removed by `make clean`."""

    def __init__(self, path: Path = BUILD / "pki") -> None:
        self.path = path
        made = (path / "ca" / "root.pem").exists()
        self.store = Store(path / "ca") if made else Store.create(path / "ca")

    def directory(self, kind: str, name: str) -> Path:
        """Return the identity directory of a service, a user or a device; issue or renew it if necessary."""
        where = self.path / kind / name
        identities.ensure(self.store, identity(Kind(kind), name), where, now=utc_now())
        return where

    def files(self, kind: str, name: str) -> IdentityFiles:
        """Return the same directory as IdentityFiles."""
        return IdentityFiles(self.directory(kind, name))

    @property
    def devices(self) -> Path:
        """Parent directory of the device identities."""
        return self.path / "device"

    @property
    def service_ca(self) -> Path:
        """The CA that devices trust."""
        return self.directory("user", "bench") / "services.pem"

    def broker_ca(self) -> Path:
        """Return the CA file for a broker that verifies devices, with the chain up to the root."""
        path = self.path / "broker-ca.pem"
        path.write_bytes(x509.cert_pem(self.store.ca(Kind.DEVICE), self.store.root()))
        return path

    def issue_devices(self, prefix: str, count: int) -> float:
        """Issue PREFIX-1 to PREFIX-COUNT; return the seconds spent on missing ones."""
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
