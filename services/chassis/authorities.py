"""Identity of a verified certificate: its URI, its tenant and its issuing CA must agree.

A gRPC port trusts two CAs, one for services and one for users. TLS proves that one of them signed the certificate; this
module checks which, so that the CA of one kind cannot issue the other (RFC 5280, section 6.1, leaves names to the
application).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from services.chassis.errors import IdentityError
from services.chassis.identity import Identity, IdentityFiles, of_sans
from services.domain.subjects import TENANT

_MAX_CACHED_CERTIFICATES = 4096
"""Size of the cache that lets a signature be verified once per certificate, not once per call."""


class Authorities:
    """The CAs that a port trusts, by the kind of identity that each may issue."""

    def __init__(self, issuers: Mapping[str, Iterable[x509.Certificate]]) -> None:
        self._issuers = {kind: tuple(certs) for kind, certs in issuers.items()}
        self.identify = lru_cache(maxsize=_MAX_CACHED_CERTIFICATES)(self._identify)

    @classmethod
    def of(cls, files: IdentityFiles) -> Authorities:
        """Return the CAs of an identity directory: services.pem, and what clients.pem adds. Raises IdentityError.

        A device CA is never accepted as a user CA, even if clients.pem contains it.
        """
        services, clients = (_certificates(files, name) for name in ("services.pem", "clients.pem"))
        others = services + (_certificates(files, "devices.pem") if (files.directory / "devices.pem").exists() else [])
        return cls({"service": services, "user": [cert for cert in clients if cert not in others]})

    def _identify(self, leaf_pem: bytes) -> Identity:
        """Return the identity of a certificate that TLS has verified. Raises IdentityError if its issuer may not name
        it.
        """
        leaf = x509.load_pem_x509_certificate(leaf_pem)
        identity = of_sans(_uris(leaf))
        if identity.tenant != TENANT:
            raise IdentityError(f"{identity.uri} belongs to another tenant than {TENANT}")
        if identity.kind not in self._issuers:
            raise IdentityError(
                f"a {identity.kind} may not use this port", hint="Use a user certificate: ygg pki issue user NAME."
            )
        if not any(_issued(leaf, ca) for ca in self._issuers[identity.kind]):
            raise IdentityError(f"{identity.uri} was not issued by the {identity.kind} CA")
        return identity


def _certificates(files: IdentityFiles, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(files.read(name))
    except ValueError as e:
        raise IdentityError(f"{files.directory / name} contains no certificates") from e


def _uris(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _issued(leaf: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
