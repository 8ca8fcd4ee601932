"""State of a device's certificate and its renewal in one session. `renewal` does the work."""

from __future__ import annotations

from services.jotunheim_bridge.errors import LinkError
from services.jotunheim_bridge.model import certificate as rules
from services.jotunheim_bridge.ports import Wire
from yggdrasil.device.v1 import link_pb2 as link


class DeviceRenewal:
    """State as drawn in `renewal`: `awaiting_request`, then `request` or `busy`; otherwise IDLE.

    `next_check_s` is on the monotonic clock.
    """

    __slots__ = ("_issued", "_wire", "awaiting_request", "busy", "due_unix_s", "next_check_s", "request")

    def __init__(self, wire: Wire) -> None:
        self.awaiting_request = self.busy = False
        self.request = b""
        self.next_check_s = 0.0
        self.due_unix_s = rules.due_unix_s(wire.certified_unix_s, wire.expires_unix_s)
        self._issued, self._wire = b"", wire

    @property
    def certificate(self) -> bytes:
        """DER of the certificate to renew: the last one issued in this session, or the one that opened the link."""
        return self._issued or self._wire.certificate()

    def on_request(self, frame: link.CertificateRequest) -> None:
        """Store the device's request; raises LinkError if it is unsolicited or out of bounds."""
        size = len(frame.certificate_request)
        if not 1 <= size <= rules.MAX_REQUEST_BYTES:
            raise LinkError(
                link.GOODBYE_CODE_PROTOCOL_ERROR,
                f"a certificate request of {size} bytes, 1 to {rules.MAX_REQUEST_BYTES} are allowed",
            )
        if not self.awaiting_request:
            raise LinkError(link.GOODBYE_CODE_PROTOCOL_ERROR, "an unsolicited certificate request")
        self.awaiting_request, self.request = False, frame.certificate_request

    def replace(self, certificate: bytes, start_unix_s: float, end_unix_s: float) -> None:
        """Make a newly issued certificate the next one to renew."""
        self._issued, self.due_unix_s = certificate, rules.due_unix_s(start_unix_s, end_unix_s)
