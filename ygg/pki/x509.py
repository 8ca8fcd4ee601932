"""Build keys and certificates of a PKI: root, CAs, and leaves by `services.chassis.certificates`. RFC 5280.

Owns the fields of CA certificates. Pure: no files, and time is an argument.
"""

from __future__ import annotations

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis.certificates import (
    CLOCK_SKEW,
    LEAF_DAYS,
    NO_NAMES,
    PURPOSES,
    Names,
    Pair,
    cert_pem,
    common_name,
    key_usage,
    load_key,
    sign_leaf,
    validity,
)
from services.chassis.identity import Identity as CertifiedIdentity
from services.domain.subjects import TENANT
from ygg.pki.names import Identity, Kind

__all__ = ["LEAF_DAYS", "NO_NAMES", "Names", "Pair", "cert_pem", "load_key"]

Key = ec.EllipticCurvePrivateKey
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ROOT_DAYS = 3650
CA_DAYS = 1825


def new_key() -> Key:
    """Return a new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(now: dt.datetime, days: int = ROOT_DAYS) -> Pair:
    """Return a self-signed root, which signs CAs only (path length 1)."""
    key = new_key()
    name = common_name(f"Yggdrasil {TENANT} root")
    builder = _builder(name, name, key, now, now + dt.timedelta(days=days))
    return Pair(_ca_extensions(builder, key, path_length=1).sign(key, hashes.SHA256()), key)


def make_ca(root: Pair, kind: Kind, now: dt.datetime, days: int = CA_DAYS) -> Pair:
    """Return the CA of one kind, signed by the root, which signs leaves only (path length 0)."""
    key = new_key()
    end = min(now + dt.timedelta(days=days), root.cert.not_valid_after_utc)
    builder = _builder(common_name(f"Yggdrasil {TENANT} {kind} CA"), root.cert.subject, key, now, end)
    builder = _ca_extensions(builder, key, path_length=0)
    builder = builder.add_extension(x509.ExtendedKeyUsage(PURPOSES[kind]), critical=False)
    return Pair(builder.add_extension(_issued_by(root.cert), critical=False).sign(root.key, hashes.SHA256()), key)


def make_leaf(ca: Pair, subject: Identity, names: Names, now: dt.datetime, days: int = LEAF_DAYS) -> Pair:
    """Return a leaf for `subject`, which expires no later than its CA."""
    key = new_key()
    return Pair(
        sign_leaf(
            ca,
            key.public_key(),
            CertifiedIdentity(subject.tenant, subject.kind, subject.id),
            validity(now, days, ca.cert),
            names,
        ),
        key,
    )


def service_names(service: str, more: Names) -> Names:
    """Return the names of every service certificate, and `more`."""
    dns = dict.fromkeys(("localhost", service, service.replace("_", "-"), *more.dns))
    loopback = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
    return Names(tuple(dns), tuple(dict.fromkeys((*loopback, *more.ips))))


def identity_uri(cert: x509.Certificate) -> str:
    """Return the URI SAN of a leaf; empty if it has none."""
    try:
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(san.get_values_for_type(x509.UniformResourceIdentifier)), "")


def key_pem(key: Key, passphrase: bytes | None = None) -> bytes:
    """Return the key as PKCS #8 PEM, encrypted if a passphrase is given."""
    protection: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def is_encrypted(pem: bytes) -> bool:
    """Return whether a PEM file holds an encrypted private key (RFC 7468, section 11)."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, now: dt.datetime, end: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now - CLOCK_SKEW, end))
        .not_valid_after(end)
    )


def _ca_extensions(builder: x509.CertificateBuilder, key: Key, path_length: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(key_usage(sign=False), critical=True)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski.value)
