"""The port Signer: the device CA. Of all services only the registry has its private key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.chassis.certificates import LEAF_DAYS, Pair, Validity, cert_pem, load_key, sign_leaf, validity
from services.chassis.errors import SettingsError
from services.chassis.identity import Identity, IdentityFiles
from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.domain.subjects import TENANT
from services.registry.errors import CertificateForeignError
from services.registry.model import DeviceCertificate, EnrolmentResult, PublicKey, RenewalResult

KEY_FILE, CHAIN_FILE = "devices-ca-key.pem", "enrol-chain.pem"


@dataclass(frozen=True, slots=True)
class DeviceCa:
    """The port Signer."""

    ca: Pair
    root: x509.Certificate
    services: bytes

    @classmethod
    def load(cls, files: IdentityFiles) -> DeviceCa | None:
        """Return the device CA of an identity directory, None if its key is not there. Raises SettingsError."""
        path = files.directory / KEY_FILE
        if not path.exists():
            return None
        if path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} is readable by others", hint=f"chmod 600 {path}")
        cert = x509.load_pem_x509_certificate(files.read("devices.pem"))
        key = load_key(files.read(KEY_FILE))
        if key.public_key() != cert.public_key():
            raise SettingsError(f"{path} is not the key of devices.pem", hint="Recreate both: ygg pki issue service …")
        root = x509.load_pem_x509_certificates(files.read(CHAIN_FILE))[-1]
        return cls(Pair(cert, key), root, files.read("services.pem"))

    @property
    def root_fingerprint(self) -> bytes:
        """SHA-256 of the root's DER, 32 bytes."""
        return self.root.fingerprint(hashes.SHA256())

    @property
    def end(self) -> datetime:
        """Expiry of the CA."""
        return self.ca.cert.not_valid_after_utc

    def key_of(self, request: bytes, device_id: str) -> PublicKey:
        """Return the P-256 key of a PKCS#10 request in DER, signed by itself; raises InvalidRequestError."""
        try:
            asked = x509.load_der_x509_csr(request)
            key, signed = asked.public_key(), asked.is_signature_valid
        except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as e:
            raise InvalidRequestError(
                "the certificate request is not a PKCS#10 request in DER", field="certificate_request"
            ) from e
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidRequestError(
                "the key of the certificate request is not a P-256 key", field="certificate_request"
            )
        if not signed:
            raise InvalidRequestError(
                "the certificate request is not signed by its own key", field="certificate_request"
            )
        names = [str(name.value) for name in asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names and names != [device_id[:64]]:
            raise InvalidRequestError(
                f"the certificate request is for {ids.printable(names[0])}, not for {device_id}",
                field="certificate_request",
            )
        return _public(key)

    def sign(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> EnrolmentResult:
        """Return a certificate for the key that begins no earlier than `not_before`."""
        cert = self._signed(key, device_id, now, not_before)
        return EnrolmentResult(f"{cert.serial_number:x}", cert_pem(cert, self.ca.cert), self.services)

    def certificate_of(self, certificate: bytes, device_id: str) -> DeviceCertificate:
        """Return a certificate in DER; raises InvalidRequestError, CertificateForeignError."""
        try:
            current = x509.load_der_x509_certificate(certificate)
            key, named = current.public_key(), _uris_of(current)
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType) as e:
            raise InvalidRequestError("the certificate is not an X.509 certificate in DER", field="certificate") from e
        try:
            current.verify_directly_issued_by(self.ca.cert)
        except (ValueError, TypeError, InvalidSignature) as e:
            raise CertificateForeignError(device_id, "another CA issued it") from e
        if named != [Identity(TENANT, "device", device_id).uri]:
            raise CertificateForeignError(device_id, "it is for another device")
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise CertificateForeignError(device_id, "its key is not an elliptic-curve key")
        return DeviceCertificate(_public(key), current.not_valid_before_utc, current.not_valid_after_utc)

    def renew(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> RenewalResult:
        """Return a further certificate for the key that begins no earlier than `not_before`."""
        cert = self._signed(key, device_id, now, not_before)
        der = serialization.Encoding.DER
        return RenewalResult(cert.public_bytes(der), self.ca.cert.public_bytes(der), cert.not_valid_after_utc)

    def _signed(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> x509.Certificate:
        public = serialization.load_der_public_key(key.der)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise TypeError("key_of accepts only P-256 keys")
        when = validity(now.replace(microsecond=0), LEAF_DAYS, self.ca.cert)
        start = when.start if not_before is None else max(when.start, not_before)
        return sign_leaf(self.ca, public, Identity(TENANT, "device", device_id), Validity(start, when.end))


def _public(key: ec.EllipticCurvePublicKey) -> PublicKey:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(der, hashlib.sha256(der).digest())


def _uris_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)
