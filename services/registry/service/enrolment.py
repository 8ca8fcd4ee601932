"""Enrolment: one-time tokens, certificates issued for them, and revocation.

A token's secret is shown once, and only its SHA-256 is stored. It is used up by compare-and-set before the certificate
is returned, so only one of two competing keys ever gets one; the key that used it may repeat the request until the
token expires, because a response can be lost.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.chassis import buckets
from services.chassis.errors import RevisionConflictError
from services.domain import ids
from services.domain.errors import InvalidRequestError
from services.registry.errors import (
    DeviceNotActiveError,
    DeviceNotFoundError,
    EnrolmentOffError,
    StaleRevisionError,
    TokenExpiredError,
    TokenNotFoundError,
    TokenUnknownError,
    TokenUsedError,
)
from services.registry.model import DeviceRecord, DeviceState, DeviceView, EnrolmentResult, Token
from services.registry.ports import Clock, DeviceStore, Index, Signer, TokenStore

SECRET_BYTES = 16
"""128 random bits, which cannot be guessed."""
MIN_TTL_S = 60
DEFAULT_TTL_S = 86_400
MAX_TTL_S = 30 * 86_400
"""Lifetime of a token, in seconds."""
MAX_SECRET_CHARS = 43
"""Maximum length of a secret in a request: 32 bytes in base64url."""
MAX_REQUEST_BYTES = 1024
_MAX_ATTEMPTS = 8
_CLOSED = (DeviceState.SUSPENDED, DeviceState.RETIRED)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Use cases. `address` is the HOST:PORT in tokens; `random_bytes` returns that many unpredictable bytes.

    Without a signer devices cannot enrol here, and only revocation works.
    """

    tokens: TokenStore
    devices: DeviceStore
    index: Index
    signer: Signer | None
    clock: Clock
    random_bytes: Callable[[int], bytes]
    address: str = ""

    async def create(self, device_id: str, ttl_s: int, labels: Mapping[str, str], author: str) -> tuple[str, Token]:
        """Create a token; return its text and record. Raises InvalidRequestError, DeviceNotActiveError,
        EnrolmentOffError.
        """
        signer = self._signer()
        labels = ids.labels(labels)
        if ttl_s and not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
            raise InvalidRequestError(f"ttl_s is {ttl_s}, {MIN_TTL_S} to {MAX_TTL_S} are allowed", field="ttl_s")
        await self._ensure_device(ids.device_id(device_id), labels)
        secret = _text(self.random_bytes(SECRET_BYTES))
        now = self.clock.now()
        token = Token(_id(secret), device_id, now, now + timedelta(seconds=ttl_s or DEFAULT_TTL_S), author)
        await self.tokens.create(token)
        return f"ygg1.{device_id}.{secret}.{_text(signer.root_fingerprint)}@{self.address}", token

    async def _ensure_device(self, device_id: str, labels: Mapping[str, str]) -> None:
        record = await self.devices.get(device_id)
        if record is None:
            try:
                created = await self.devices.create(
                    DeviceRecord(device_id, DeviceState.ACTIVE, self.clock.now(), dict(labels))
                )
            except RevisionConflictError:
                return await self._ensure_device(device_id, labels)
            await self.index.reached(buckets.DEVICES.name, created.revision)
        elif record.state in _CLOSED:
            raise DeviceNotActiveError(device_id, record.state.value)
        return None

    async def tokens_of(self, device_id: str) -> Sequence[Token]:
        """Return the tokens of a device, or all if `device_id` is empty, newest first."""
        device_id = device_id and ids.device_id(device_id)
        found = [token for token in await self.tokens.all() if device_id in ("", token.device_id)]
        return sorted(found, key=lambda token: (token.create_time, token.id), reverse=True)

    async def delete(self, token_id: str) -> None:
        """Delete a token, so that it is no longer accepted. Raises TokenNotFoundError."""
        if await self.tokens.get(token_id) is None:
            raise TokenNotFoundError(token_id)
        await self.tokens.delete(token_id)

    async def enrol(self, secret: str, device_id: str, request: bytes) -> EnrolmentResult:
        """Return a device's certificate for the key in a PKCS#10 request.

        Raises TokenUnknownError, TokenUsedError, TokenExpiredError, DeviceNotActiveError, InvalidRequestError.
        """
        ids.device_id(device_id)
        if not 0 < len(secret) <= MAX_SECRET_CHARS or not 0 < len(request) <= MAX_REQUEST_BYTES:
            raise InvalidRequestError("the secret or the certificate request is out of bounds")
        signer = self._signer()
        key = signer.key_of(request, device_id)
        for _ in range(_MAX_ATTEMPTS):
            token, record = await self._check_token(secret, device_id, key.digest)
            granted = signer.sign(key, device_id, self.clock.now(), record.revoke_time)
            used = replace(token, use_time=self.clock.now(), serial=granted.serial, key_digest=key.digest)
            try:
                await self.tokens.update(used)
            except RevisionConflictError:
                continue  # used in between: check again
            return granted
        raise RevisionConflictError("the token has too many concurrent requests", hint="Try again.")

    async def _check_token(self, secret: str, device_id: str, key_digest: bytes) -> tuple[Token, DeviceRecord]:
        token, record = await self.tokens.get(_id(secret)), await self.devices.get(device_id)
        if token is None or record is None or token.device_id != device_id:
            raise TokenUnknownError
        if token.expire_time <= self.clock.now():
            raise TokenExpiredError
        if token.key_digest and token.key_digest != key_digest:
            raise TokenUsedError
        if record.state in _CLOSED:
            raise DeviceNotActiveError(device_id, record.state.value)
        return token, record

    def _signer(self) -> Signer:
        if self.signer is None:
            raise EnrolmentOffError
        return self.signer

    async def revoke(self, device_id: str, revision: int) -> DeviceView:
        """Revoke every certificate issued until now. Raises DeviceNotFoundError, StaleRevisionError."""
        ids.device_id(device_id)
        for _ in range(_MAX_ATTEMPTS):
            record = await self.devices.get(device_id)
            if record is None:
                raise DeviceNotFoundError(device_id)
            if revision and revision != record.revision:
                raise StaleRevisionError(device_id, revision, record.revision)
            try:
                stored = await self.devices.update(
                    replace(record, revoke_time=self._next_revocation(record.revoke_time))
                )
            except RevisionConflictError:
                continue
            await self.index.reached(buckets.DEVICES.name, stored.revision)
            view = await self.index.get(device_id)
            return DeviceView(stored) if view is None else replace(view, record=stored)
        raise RevisionConflictError(f"{device_id} has too many concurrent writes", hint="Try again.")

    def _next_revocation(self, before: datetime | None) -> datetime:
        """Return the revocation time in whole seconds, as certificates have them, and later than the previous one."""
        now = self.clock.now().replace(microsecond=0)
        return now if before is None else max(now, before + timedelta(seconds=1))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:32]
