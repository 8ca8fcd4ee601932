"""Validity of tokens by time and stored state, with a fake clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.chassis.errors import RevisionConflictError, SettingsError
from services.chassis.identity import IdentityFiles
from services.registry.adapters.signer import KEY_FILE, DeviceCa
from services.registry.errors import (
    CertificateEndedError,
    CertificateRevokedError,
    DeviceCaEndsError,
    EnrolmentOffError,
    TokenExpiredError,
    TokenUsedError,
)
from services.registry.model import (
    DeviceCertificate,
    DeviceRecord,
    DeviceState,
    EnrolmentResult,
    PublicKey,
    RenewalResult,
    Token,
)
from services.registry.service.enrolment import Enrolment
from services.registry.service.renewal import Renewal
from tests.fixtures.pki import Pki

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    """Returns the given responses."""

    time: datetime = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@dataclass
class Kept:
    """A store of one kind of record in memory, with compare-and-set as the real one."""

    kept: dict[str, Any] = field(default_factory=dict)

    async def get(self, key: str) -> Any:
        return self.kept.get(key)

    async def create(self, one: Any) -> Any:
        if one.id in self.kept:
            raise RevisionConflictError("there is one")
        self.kept[one.id] = replace(one, revision=1)
        return self.kept[one.id]

    async def update(self, one: Any) -> Any:
        if self.kept[one.id].revision != one.revision:
            raise RevisionConflictError("another revision")
        self.kept[one.id] = replace(one, revision=one.revision + 1)
        return self.kept[one.id]

    async def delete(self, key: str) -> None:
        del self.kept[key]

    async def all(self) -> list[Any]:
        return list(self.kept.values())


class Index:
    """Always up to date."""

    async def reached(self, bucket: str, revision: int) -> bool:
        return True

    async def get(self, device_id: str) -> None:
        return None


class Signer:
    """Signs whatever it is given: the real one is tested with the service."""

    root_fingerprint = bytes(32)
    end = NOW + timedelta(days=1000)

    def key_of(self, request: bytes, device_id: str) -> PublicKey:
        return PublicKey(request, request)

    def certificate_of(self, certificate: bytes, device_id: str) -> DeviceCertificate:
        return DeviceCertificate(PublicKey(certificate, certificate), NOW, NOW + timedelta(days=300))

    def renew(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> RenewalResult:
        return RenewalResult(key.der, b"issuer", now + timedelta(days=365))

    def sign(self, key: PublicKey, device_id: str, now: datetime, not_before: datetime | None) -> EnrolmentResult:
        return EnrolmentResult("1", key.der, b"")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def enrolment(clock: Clock) -> Enrolment:
    index: Any = Index()
    return Enrolment(Kept(), Kept(), index, Signer(), clock, lambda size: b"s" * size, "mesh:7445")


async def secret_of(enrolment: Enrolment, ttl_s: int = 0) -> str:
    text, _ = await enrolment.create("porch-1", ttl_s, {}, "ygg://main/user/ann")
    return text.split(".")[2]


async def test_token_text_has_all_enrolment_data(enrolment: Enrolment) -> None:
    text, token = await enrolment.create("porch-1", 0, {}, "ygg://main/user/ann")
    assert text == f"ygg1.porch-1.{'c3Nzc3Nzc3Nzc3Nzc3Nzcw'}.{'A' * 43}@mesh:7445"
    assert token.expire_time - token.create_time == timedelta(days=1)


@pytest.mark.parametrize(("after_s", "good"), [(59, True), (60, False), (61, False)])
async def test_a_token_ends_with_its_time_for_a_first_use(
    enrolment: Enrolment, clock: Clock, after_s: int, good: bool
) -> None:
    secret = await secret_of(enrolment, 60)
    clock.time += timedelta(seconds=after_s)
    if good:
        assert (await enrolment.enrol(secret, "porch-1", b"key")).certificate_chain == b"key"
    else:
        with pytest.raises(TokenExpiredError):
            await enrolment.enrol(secret, "porch-1", b"key")


async def test_token_follows_wall_clock_steps_and_is_used_once(enrolment: Enrolment, clock: Clock) -> None:
    secret = await secret_of(enrolment, 60)
    clock.time += timedelta(hours=1)
    with pytest.raises(TokenExpiredError):
        await enrolment.enrol(secret, "porch-1", b"key")
    clock.time -= timedelta(hours=2)
    await enrolment.enrol(secret, "porch-1", b"key")
    with pytest.raises(TokenUsedError):
        await enrolment.enrol(secret, "porch-1", b"another")


async def test_the_same_key_may_not_ask_again_after_the_end(enrolment: Enrolment, clock: Clock) -> None:
    secret = await secret_of(enrolment, 60)
    await enrolment.enrol(secret, "porch-1", b"key")
    clock.time += timedelta(seconds=60)
    with pytest.raises(TokenExpiredError):
        await enrolment.enrol(secret, "porch-1", b"key")


async def test_each_revocation_is_later_than_the_one_before(enrolment: Enrolment, clock: Clock) -> None:
    devices: Any = enrolment.devices
    devices.kept["porch-1"] = DeviceRecord("porch-1", Any, NOW, {}, 1, NOW + timedelta(hours=1))  # type: ignore[arg-type]
    shown = await enrolment.revoke("porch-1", 0)
    assert shown.record == devices.kept["porch-1"]
    assert devices.kept["porch-1"].revoke_time == NOW + timedelta(hours=1, seconds=1)


async def test_tokens_are_listed_newest_first(enrolment: Enrolment) -> None:
    tokens: Any = enrolment.tokens
    for number in range(3):
        made = Token(f"t{number}", "porch-1", NOW + timedelta(seconds=number), NOW, "ann")
        await tokens.create(made)
    assert [token.id for token in await enrolment.tokens_of("porch-1")] == ["t2", "t1", "t0"]
    assert await enrolment.tokens_of("porch-2") == []


def test_a_ca_key_that_others_can_read_is_not_used(pki: Pki, tmp_path: Path) -> None:
    for path in pki.directory("service", "registry").iterdir():
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
    assert DeviceCa.load(IdentityFiles(tmp_path)) is not None
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(SettingsError, match="is readable by others"):
        DeviceCa.load(IdentityFiles(tmp_path))
    (tmp_path / KEY_FILE).unlink()
    assert DeviceCa.load(IdentityFiles(tmp_path)) is None


def test_only_the_registry_holds_a_ca_key(pki: Pki) -> None:
    for name in ("registry", "jotunheim_bridge", "loki", "ota", "nats"):
        names = {path.name for path in pki.directory("service", name).iterdir()}
        assert (KEY_FILE in names) == (name == "registry")
        assert not names & {"root.key", "service-ca.key", "user-ca.key"}
    assert (pki.directory("service", "registry") / KEY_FILE).stat().st_mode & 0o777 == 0o600


async def renewal_of(clock: Clock, revoke_time: datetime | None = None, signer: Any = None) -> Renewal:
    devices: Any = Kept()
    await devices.create(DeviceRecord("porch-1", DeviceState.ACTIVE, NOW, {}, revoke_time=revoke_time))
    return Renewal(devices, signer or Signer(), clock)


@pytest.mark.parametrize(("after", "good"), [(-1, False), (0, True), (300 * 86_400 - 1, True), (300 * 86_400, False)])
async def test_certificate_is_renewed_while_it_is_valid(clock: Clock, after: int, good: bool) -> None:
    clock.time += timedelta(seconds=after)
    renewal = await renewal_of(clock)
    if good:
        assert (await renewal.renew("porch-1", b"key", b"key")).certificate == b"key"
    else:
        with pytest.raises(CertificateEndedError):
            await renewal.renew("porch-1", b"key", b"key")


@pytest.mark.parametrize(("revoked_s", "good"), [(-1, True), (0, True), (1, False)])
async def test_certificate_older_than_revocation_is_not_renewed(clock: Clock, revoked_s: int, good: bool) -> None:
    renewal = await renewal_of(clock, NOW + timedelta(seconds=revoked_s))
    if good:
        await renewal.renew("porch-1", b"key", b"key")
    else:
        with pytest.raises(CertificateRevokedError):
            await renewal.renew("porch-1", b"key", b"key")


async def test_certificate_lasting_as_long_as_ca_is_not_renewed(clock: Clock) -> None:
    signer = Signer()
    signer.end = NOW + timedelta(days=300)
    renewal = await renewal_of(clock, signer=signer)
    with pytest.raises(DeviceCaEndsError):
        await renewal.renew("porch-1", b"key", b"key")


async def test_registry_without_the_device_ca_renews_nothing(clock: Clock) -> None:
    renewal = replace(await renewal_of(clock), signer=None)
    with pytest.raises(EnrolmentOffError):
        await renewal.renew("porch-1", b"key", b"key")
