"""Renewal of a certificate that is still valid, requested by a bridge on the device's behalf.

The bridge gains no further trust: the new certificate is for the same device and key as a certificate that the device
CA issued and that still admits the device, so a hostile bridge gets none for a key of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.domain import ids
from services.domain.access import ACTIVE, denied_reason
from services.domain.errors import InvalidRequestError
from services.registry.errors import (
    CertificateEndedError,
    CertificateKeyError,
    CertificateRevokedError,
    DeviceCaEndsError,
    DeviceNotActiveError,
    DeviceNotFoundError,
    EnrolmentOffError,
)
from services.registry.model import DeviceCertificate, DeviceRecord, RenewalResult
from services.registry.ports import Clock, DeviceStore, Signer
from services.registry.service.enrolment import MAX_REQUEST_BYTES

MAX_CERTIFICATE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Renewal:
    """The use case. Without a signer nothing is renewed here."""

    devices: DeviceStore
    signer: Signer | None
    clock: Clock

    async def renew(self, device_id: str, certificate: bytes, request: bytes) -> RenewalResult:
        """Return a certificate for the key of `certificate` (DER), which has also signed `request` (PKCS#10 in DER).

        Raises InvalidRequestError, CertificateForeignError, CertificateKeyError, CertificateEndedError,
        CertificateRevokedError, DeviceNotFoundError, DeviceNotActiveError, DeviceCaEndsError, EnrolmentOffError.
        """
        ids.device_id(device_id)
        if not 0 < len(certificate) <= MAX_CERTIFICATE_BYTES or not 0 < len(request) <= MAX_REQUEST_BYTES:
            raise InvalidRequestError(
                f"a certificate of {len(certificate)} bytes and a request of {len(request)}; "
                f"1 to {MAX_CERTIFICATE_BYTES} and 1 to {MAX_REQUEST_BYTES} are allowed"
            )
        if self.signer is None:
            raise EnrolmentOffError
        current = self.signer.certificate_of(certificate, device_id)
        key = self.signer.key_of(request, device_id)
        if key != current.key:
            raise CertificateKeyError(device_id)
        record = await self.devices.get(device_id)
        if record is None:
            raise DeviceNotFoundError(device_id)
        self._check_admitted(record, current)
        if self.signer.end <= current.end:
            raise DeviceCaEndsError(self.signer.end)
        return self.signer.renew(key, device_id, self.clock.now(), record.revoke_time)

    def _check_admitted(self, record: DeviceRecord, current: DeviceCertificate) -> None:
        if not current.start <= self.clock.now() < current.end:
            raise CertificateEndedError(record.id, current.end)
        if record.state.value != ACTIVE:
            raise DeviceNotActiveError(record.id, record.state.value)
        revoked_unix_s = record.revoke_time.timestamp() if record.revoke_time else 0.0
        if denied_reason(record.id, record.state.value, revoked_unix_s, current.start.timestamp()):
            raise CertificateRevokedError(record.id)
