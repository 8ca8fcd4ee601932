"""Leaf certificates of the mesh: profile, extensions, validity. RFC 5280.

Owns the contents of a leaf for both issuers: `ygg pki` on the operator's machine, and the registry for devices that
enrol. No files and no clock; `ygg.pki` makes the CAs.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from services.chassis.identity import Identity

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LEAF_DAYS = 365
"""Validity of a leaf certificate, in days."""
CLOCK_SKEW = dt.timedelta(minutes=5)
"""A certificate is valid from this long ago, so that a peer with a slow clock accepts it immediately."""

PURPOSES: Mapping[str, tuple[ObjectIdentifier, ...]] = {
    "device": (ExtendedKeyUsageOID.CLIENT_AUTH,),
    "service": (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    "user": (ExtendedKeyUsageOID.CLIENT_AUTH,),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Names:
    """Additional names of a server certificate."""

    dns: Sequence[str] = ()
    ips: Sequence[IpAddress] = ()


NO_NAMES = Names()


@dataclass(frozen=True, slots=True)
class Validity:
    """Start and end of validity, UTC, in whole seconds."""

    start: dt.datetime
    end: dt.datetime


def validity(now: dt.datetime, days: int, ca: x509.Certificate) -> Validity:
    """Return a validity of `days` from now, starting slightly earlier and ending no later than the CA."""
    end = min(now + dt.timedelta(days=days), ca.not_valid_after_utc)
    return Validity(min(now - CLOCK_SKEW, end), end)


def sign_leaf(
    ca: Pair, key: ec.EllipticCurvePublicKey, subject: Identity, when: Validity, names: Names = NO_NAMES
) -> x509.Certificate:
    """Return a certificate of `subject` for a public key, the only input from the requester."""
    purposes = x509.ExtendedKeyUsage(PURPOSES[subject.kind])
    issuer_ski = ca.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    alternatives = x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier(subject.uri),
            *(x509.DNSName(name) for name in names.dns),
            *(x509.IPAddress(ip) for ip in names.ips),
        ]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(common_name(subject.id))
        .issuer_name(ca.cert.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(when.start)
        .not_valid_after(when.end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(sign=True), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_ski), critical=False)
        .sign(ca.key, hashes.SHA256())
    )


def key_usage(*, sign: bool) -> x509.KeyUsage:
    """Return the key usage: leaves sign handshakes (digitalSignature), CAs sign certificates and revocation lists."""
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


def common_name(text: str) -> x509.Name:
    """Return a name that consists of a common name, truncated to the maximum of 64 characters."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def load_key(data: bytes, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Return the elliptic-curve key in a PEM file. Raises ValueError for any other content or a wrong passphrase."""
    key = serialization.load_pem_private_key(data, password=passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic-curve key")  # noqa: TRY004 (what the file holds is a value)
    return key


def cert_pem(*certs: x509.Certificate) -> bytes:
    """Return the certificates as concatenated PEM blocks."""
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in certs)
