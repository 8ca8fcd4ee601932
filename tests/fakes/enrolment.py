"""An enrolment server under the control of the test: any certificates, any response, and the requests received.

TLS, framing and the device CA are real; the test chooses its identity and its responses.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.fixtures.pki import Pki
from yggdrasil.device.v1 import enrol_pb2 as pb

ALPN = "einherjar-enrol/1"
SECRET = base64.urlsafe_b64encode(bytes(range(16))).rstrip(b"=").decode()
Answer = Callable[[pb.EnrolRequest], bytes]


def framed(answer: pb.EnrolResponse) -> bytes:
    """An answer as it crosses the wire."""
    body = answer.SerializeToString()
    return length(len(body)) + body


def length(value: int) -> bytes:
    """A varint."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + length(value >> 7)


def fingerprint(pki: Pki) -> str:
    """Of a mesh's root, as tokens carry it."""
    return base64.urlsafe_b64encode(pki.store.root().fingerprint(hashes.SHA256())).rstrip(b"=").decode()


@dataclass
class EnrolServer:
    """Made by `enrol_server`. `requests` are those that came, `received` counts all bytes of applications."""

    answer: Answer
    port: int = 0
    connections: int = 0
    received: int = 0
    requests: list[pb.EnrolRequest] = field(default_factory=list)

    def token(self, pki: Pki, device_id: str) -> str:
        """A token for this server that trusts the root of `pki`."""
        return f"ygg1.{device_id}.{SECRET}.{fingerprint(pki)}@127.0.0.1:{self.port}"

    def keys(self) -> list[bytes]:
        """The public keys that certificates were asked for, as DER."""
        asked = [x509.load_der_x509_csr(request.certificate_request) for request in self.requests]
        assert all(request.is_signature_valid for request in asked)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return [request.public_key().public_bytes(serialization.Encoding.DER, form) for request in asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One device."""
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            size = shift = 0
            while True:
                byte = (await reader.readexactly(1))[0]
                self.received += 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            request = pb.EnrolRequest.FromString(await reader.readexactly(size))
            self.requests.append(request)
            writer.write(self.answer(request))
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def enrol_server(chain: bytes, key: Path, answer: Answer, alpn: str = ALPN) -> AsyncIterator[EnrolServer]:
    """A running server that shows `chain`, PEM, with the private key in `key`."""
    path = key.parent / "shown.pem"
    path.write_bytes(chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(path, key)
    context.set_alpn_protocols([alpn])
    made = EnrolServer(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = int(server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        server.close()
