"""Identities as URI SAN `ygg://<tenant>/<kind>/<id>`, and the identity files of a process.

Owns the grammar and the TLS contexts; `ygg pki` issues certificates. The trust anchors are the intermediate CAs
themselves, so a gRPC port that trusts services and users does not trust devices of the same root (RFC 5280, section
6.1.1 (d): a trust anchor need not be self-signed).
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from services.chassis.errors import IdentityError
from services.domain import ids

_URI = re.compile(
    r"ygg://(?P<tenant>[a-z][a-z0-9_]{0,31})/(?P<kind>device|service|user)/(?P<id>[a-z0-9][a-z0-9_.-]{0,62})\Z"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A tenant, a kind (`device`, `service` or `user`) and an id within them."""

    tenant: str
    kind: str
    id: str

    @property
    def uri(self) -> str:
        """The URI as in the certificate."""
        return f"ygg://{self.tenant}/{self.kind}/{self.id}"


def parse_uri(uri: str) -> Identity:
    """Return the identity of a URI SAN; raises IdentityError."""
    match = _URI.match(uri)
    if not match:
        raise IdentityError(
            f"{ids.printable(uri)!r} is not an identity of the mesh", hint="It must be ygg://main/<kind>/<id>."
        )
    return Identity(match["tenant"], match["kind"], match["id"])


def of_sans(uris: list[str]) -> Identity:
    """Return the single identity among a certificate's URI SANs; raises IdentityError for none or more than one."""
    mesh_uris = [uri for uri in uris if uri.startswith("ygg://")]
    if len(mesh_uris) != 1:
        raise IdentityError(f"the certificate names {len(mesh_uris)} identities of the mesh, exactly one is required")
    return parse_uri(mesh_uris[0])


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """The identity directory of a process. `cert.pem` contains the leaf, followed by its issuing CA."""

    directory: Path

    def read(self, name: str) -> bytes:
        """Return the contents of a file in the directory; raises IdentityError with the commands that create it."""
        try:
            return (self.directory / name).read_bytes()
        except OSError as e:
            raise IdentityError(
                f"cannot read {self.directory / name}: {e.strerror}",
                hint="Create it with: ygg pki init; ygg pki issue …",
            ) from e

    def _context(self, protocol: int, trust: str) -> ssl.SSLContext:
        self.read("key.pem"), self.read("cert.pem"), self.read(trust)
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.directory / "cert.pem", self.directory / "key.pem")
        context.load_verify_locations(self.directory / trust)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a context to connect to a service of the mesh with TLS 1.3."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT, "services.pem")

    def server_context(self, trust: str) -> ssl.SSLContext:
        """Return a context for a TLS 1.3 server with clients that must chain to a CA in the file `trust`."""
        return self._context(ssl.PROTOCOL_TLS_SERVER, trust)
