"""Identity directories: the keys and certificates of one process.

    cert.pem      the leaf, then its issuing CA
    key.pem       its private key, 0600
    services.pem  service CA: trusted for connections to a service, NATS or the device link
    clients.pem   service CA + user CA: trusted for clients of a gRPC port
    devices.pem   device CA: trusted for devices on the link; for jotunheim_bridge, ota and registry only

The registry signs the certificates of enrolling devices. Only its directory also has

    devices-ca-key.pem  the device CA's private key, 0600; no other service has a CA key
    enrol-chain.pem     its leaf, the service CA and the root; enrolment tokens carry the root's fingerprint

Owns the files.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509 as cx509
from cryptography.exceptions import InvalidSignature

from ygg.exits import CliError
from ygg.files import PUBLIC, SECRET, private_dir, write_atomic
from ygg.pki import x509
from ygg.pki.names import Identity, Kind
from ygg.pki.store import Store
from ygg.pki.x509 import NO_NAMES, Names, Pair

TRUST_DEVICES = frozenset({"jotunheim_bridge", "ota", "registry"})
SIGNS_DEVICES = "registry"
_RENEW_AT = 3
"""A certificate is renewed when less than 1/_RENEW_AT of its lifetime is left."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner of written files."""

    uid: int
    gid: int


def write(store: Store, subject: Identity, path: Path, pair: Pair, owner: Owner | None = None) -> None:
    """Write the identity directory of `subject`; each file is replaced atomically, the leaf last."""
    files: dict[str, tuple[bytes, int]] = {
        "services.pem": (x509.cert_pem(store.ca(Kind.SERVICE)), PUBLIC),
        "clients.pem": (x509.cert_pem(store.ca(Kind.SERVICE), store.ca(Kind.USER)), PUBLIC),
    }
    if subject.kind is Kind.SERVICE and subject.id in TRUST_DEVICES:
        files["devices.pem"] = (x509.cert_pem(store.ca(Kind.DEVICE)), PUBLIC)
    signing = store.ca_key(Kind.DEVICE) if _signs(subject) else None
    if signing:
        files["devices-ca-key.pem"] = (x509.key_pem(signing), SECRET)
        chain = x509.cert_pem(pair.cert, store.ca(Kind.SERVICE), store.root())
        files["enrol-chain.pem"] = (chain, PUBLIC)
    files["key.pem"] = (x509.key_pem(pair.key), SECRET)
    files["cert.pem"] = (x509.cert_pem(pair.cert, store.ca(subject.kind)), PUBLIC)
    private_dir(path)
    for name, (data, mode) in files.items():
        write_atomic(path / name, data, mode)
        if owner:
            os.chown(path / name, owner.uid, owner.gid)
    if owner:
        os.chown(path, owner.uid, owner.gid)


def issue(store: Store, subject: Identity, path: Path, names: Names, days: int, *, force: bool) -> Pair:
    """Issue a certificate into `path`. Raises CliError if an identity exists there, unless `force`."""
    present = [name for name in ("key.pem", "cert.pem") if (path / name).exists()]
    if present and not force:
        raise CliError(
            f"{path} already holds an identity ({', '.join(present)}); nothing was changed",
            hint="Pass --force to replace it, or --out to write elsewhere.",
        )
    pair = store.issue(subject, names, days)
    write(store, subject, path, pair)
    return pair


def ensure(
    store: Store,
    subject: Identity,
    path: Path,
    *,
    now: dt.datetime,
    names: Names = NO_NAMES,
    owner: Owner | None = None,
) -> bool:
    """Make `path` a valid identity directory of `subject`; return whether a certificate was issued. Idempotent.

    Raises CliError if the CA's key is unavailable and there is no valid certificate. A certificate that expires soon is
    kept in that case, and `ygg doctor` reports it.
    """
    if is_valid(store, subject, path, now, names):
        return False
    try:
        pair = store.issue(subject, names)
        write(store, subject, path, pair, owner)
    except CliError:
        if is_valid(store, subject, path, now, names, soon=dt.timedelta(0)):
            return False
        raise
    return True


def is_valid(
    store: Store, subject: Identity, path: Path, now: dt.datetime, names: Names, soon: dt.timedelta | None = None
) -> bool:
    """Return whether `path` is complete, from this PKI, for `subject` with these names, and does not expire soon.

    `soon` defaults to a third of the certificate's lifetime.
    """
    try:
        leaf = leaf_of(path)
        key = x509.load_key((path / "key.pem").read_bytes())
        trust = (path / "services.pem").read_bytes()
        leaf.verify_directly_issued_by(store.ca(subject.kind))
    except (OSError, ValueError, TypeError, CliError, InvalidSignature):
        return False
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    soon = lifetime / _RENEW_AT if soon is None else soon
    return (
        key.public_key() == leaf.public_key()
        and x509.identity_uri(leaf) == subject.uri
        and trust == x509.cert_pem(store.ca(Kind.SERVICE))
        and leaf.not_valid_before_utc <= now
        and leaf.not_valid_after_utc - now > soon
        and _has_names(leaf, names)
        and _can_sign(store, subject, path)
    )


def _signs(subject: Identity) -> bool:
    return subject.kind is Kind.SERVICE and subject.id == SIGNS_DEVICES


def _can_sign(store: Store, subject: Identity, path: Path) -> bool:
    """Return whether the directory has the PKI's device CA key, if it needs one."""
    if not (_signs(subject) and store.has_key(Kind.DEVICE)):
        return True
    try:
        held = x509.load_key((path / "devices-ca-key.pem").read_bytes())
        (path / "enrol-chain.pem").stat()
    except (OSError, ValueError):
        return False
    return held.public_key() == store.ca(Kind.DEVICE).public_key()


def leaf_of(path: Path) -> cx509.Certificate:
    """Return the leaf in an identity directory. Raises CliError if missing or invalid."""
    cert = path / "cert.pem"
    try:
        return cx509.load_pem_x509_certificate(cert.read_bytes())
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else "not a certificate"
        raise CliError(f"cannot read {cert}: {why}") from e


def _has_names(leaf: cx509.Certificate, names: Names) -> bool:
    san = leaf.extensions.get_extension_for_class(cx509.SubjectAlternativeName).value
    dns, ips = san.get_values_for_type(cx509.DNSName), san.get_values_for_type(cx509.IPAddress)
    return set(names.dns) <= set(dns) and set(names.ips) <= set(ips)
