"""Builds keys and certificates: profiles, extensions, validity. RFC 5280.

Owns what is *in* a certificate. No files and no clock: the time comes in as an argument.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.domain.subjects import TENANT
from ygg.pki.names import Identity, Kind

Key = ec.EllipticCurvePrivateKey
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ROOT_DAYS = 3650
CA_DAYS = 1825
LEAF_DAYS = 365
CLOCK_SKEW = dt.timedelta(minutes=5)
"""A certificate is valid from this long ago, so that a peer whose clock is late accepts it at once."""

_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_PURPOSES = {Kind.DEVICE: (_CLIENT,), Kind.SERVICE: (_CLIENT, _SERVER), Kind.USER: (_CLIENT,)}


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    cert: x509.Certificate
    key: Key


@dataclass(frozen=True, slots=True)
class Names:
    """Further names of a server certificate."""

    dns: Sequence[str] = ()
    ips: Sequence[IpAddress] = ()


NO_NAMES = Names()


def new_key() -> Key:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(now: dt.datetime, days: int = ROOT_DAYS) -> Pair:
    """A self-signed root. It signs CAs only (path length 1)."""
    key = new_key()
    name = _name(f"Yggdrasil {TENANT} root")
    builder = _builder(name, name, key, now, now + dt.timedelta(days=days))
    return Pair(_ca_extensions(builder, key, path_length=1).sign(key, hashes.SHA256()), key)


def make_ca(root: Pair, kind: Kind, now: dt.datetime, days: int = CA_DAYS) -> Pair:
    """The CA of one kind, signed by the root. It signs leaves only (path length 0)."""
    key = new_key()
    end = min(now + dt.timedelta(days=days), root.cert.not_valid_after_utc)
    builder = _builder(_name(f"Yggdrasil {TENANT} {kind} CA"), root.cert.subject, key, now, end)
    builder = _ca_extensions(builder, key, path_length=0)
    builder = builder.add_extension(x509.ExtendedKeyUsage(_PURPOSES[kind]), critical=False)
    return Pair(builder.add_extension(_issued_by(root.cert), critical=False).sign(root.key, hashes.SHA256()), key)


def make_leaf(ca: Pair, who: Identity, names: Names, now: dt.datetime, days: int = LEAF_DAYS) -> Pair:
    """A leaf for `who`; it ends with its CA at the latest."""
    key = new_key()
    end = min(now + dt.timedelta(days=days), ca.cert.not_valid_after_utc)
    builder = _builder(_name(who.id), ca.cert.subject, key, now, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(_PURPOSES[who.kind]), critical=False)
    builder = builder.add_extension(_alternative_names(who, names), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return Pair(builder.add_extension(_issued_by(ca.cert), critical=False).sign(ca.key, hashes.SHA256()), key)


def service_names(service: str, more: Names) -> Names:
    """The names every service certificate carries, and `more`."""
    dns = dict.fromkeys(("localhost", service, service.replace("_", "-"), *more.dns))
    loopback = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
    return Names(tuple(dns), tuple(dict.fromkeys((*loopback, *more.ips))))


def identity_uri(cert: x509.Certificate) -> str:
    """The URI SAN of a leaf; empty where it has none."""
    try:
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(san.get_values_for_type(x509.UniformResourceIdentifier)), "")


def cert_pem(*certs: x509.Certificate) -> bytes:
    """The certificates, one PEM block after another."""
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in certs)


def key_pem(key: Key) -> bytes:
    """The key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(data: bytes) -> Key:
    """The P-256 key in a PEM file. Raises ValueError for anything else."""
    key = serialization.load_pem_private_key(data, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic-curve key")  # noqa: TRY004 (what the file holds is a value)
    return key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


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
    builder = builder.add_extension(_usage(sign=False), critical=True)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _usage(*, sign: bool) -> x509.KeyUsage:
    """Leaves sign handshakes (digitalSignature), CAs sign certificates and revocation lists."""
    return x509.KeyUsage(
        digital_signature=sign,
        key_cert_sign=not sign,
        crl_sign=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski.value)


def _alternative_names(who: Identity, names: Names) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier(who.uri),
            *(x509.DNSName(name) for name in names.dns),
            *(x509.IPAddress(ip) for ip in names.ips),
        ]
    )
