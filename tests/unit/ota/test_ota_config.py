"""The settings of ota: required fields by store, all faults reported together."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis import settings
from services.chassis.errors import SettingsError
from services.ota.config import OtaSettings

NEEDED = {"YGG_OTA_IDENTITY": "/identity", "YGG_OTA_DATA_DIR": "/data"}
S3 = {
    **NEEDED,
    "YGG_OTA_OBJECT_STORE": "s3",
    "YGG_OTA_S3_ENDPOINT_URL": "https://s3.example:8333",
    "YGG_OTA_S3_ACCESS_KEY_FILE": "/run/secrets/access",
    "YGG_OTA_S3_SECRET_KEY_FILE": "/run/secrets/secret",
}


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> OtaSettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return settings.load(OtaSettings)


def test_nats_is_the_default_and_needs_nothing_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(monkeypatch, **NEEDED)
    assert (found.object_store, found.data_dir, found.listen) == ("nats", Path("/data"), "127.0.0.1:50054")


def test_s3_by_https(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, **S3).s3_endpoint_url == "https://s3.example:8333"


def test_all_missing_s3_settings_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as e:
        load(monkeypatch, YGG_OTA_OBJECT_STORE="s3", YGG_OTA_CACHE_BYTES="1", YGG_OTA_S3_BUCKET="Not A Bucket")
    for name in (
        "IDENTITY",
        "DATA_DIR",
        "CACHE_BYTES",
        "S3_ENDPOINT_URL",
        "S3_BUCKET",
        "S3_ACCESS_KEY_FILE",
        "S3_SECRET_KEY_FILE",
    ):
        assert f"YGG_OTA_{name}:" in e.value.message


@pytest.mark.parametrize("host", ["127.0.0.1:8333", "localhost:8333", "[::1]:8333", "127.8.8.8"])
def test_plain_http_to_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert load(monkeypatch, **{**S3, "YGG_OTA_S3_ENDPOINT_URL": f"http://{host}"}).s3_endpoint_url == f"http://{host}"


@pytest.mark.parametrize("host", ["s3.example:8333", "192.168.1.1", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_plain_http_elsewhere_only_when_allowed(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    url = f"http://{host}"
    with pytest.raises(SettingsError, match="S3_ALLOW_PLAIN_HTTP"):
        load(monkeypatch, **{**S3, "YGG_OTA_S3_ENDPOINT_URL": url})
    assert load(monkeypatch, YGG_OTA_S3_ALLOW_PLAIN_HTTP="true").s3_endpoint_url == url


@pytest.mark.parametrize(
    "url",
    ["s3.example:8333", "ftp://s3.example", "https://", "https://key:secret@s3.example", "https://s3.example?x=1"],
)
def test_invalid_endpoint_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(SettingsError, match="YGG_OTA_S3_ENDPOINT_URL"):
        load(monkeypatch, **{**S3, "YGG_OTA_S3_ENDPOINT_URL": url})
