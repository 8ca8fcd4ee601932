"""Settings from the environment: validated at start, all faults reported together, frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_settings import SettingsConfigDict

from services.chassis import settings
from services.chassis.errors import SettingsError
from services.chassis.settings import Endpoint, ServiceSettings


class ThingSettings(ServiceSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="YGG_THING_")

    data_dir: Path
    size: int = Field(10, ge=1)


GOOD = {"LISTEN": "127.0.0.1:0", "IDENTITY": "/identity", "DATA_DIR": "/data"}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN", "IDENTITY", "DATA_DIR", "SIZE", "NATS_URL", "LOG_LEVEL", "INSTANCE_ID", "DRAIN_S"):
        monkeypatch.delenv(f"YGG_THING_{name}", raising=False)


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> ThingSettings:
    for name, value in values.items():
        monkeypatch.setenv(f"YGG_THING_{name}", value)
    return settings.load(ThingSettings)


def test_unset_variables_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(monkeypatch, **GOOD)
    assert (found.listen, found.identity, found.data_dir) == ("127.0.0.1:0", Path("/identity"), Path("/data"))
    assert (found.nats_url, found.log_level, found.drain_s) == ("tls://127.0.0.1:4222", "info", 5.0)
    assert found.instance_id != load(monkeypatch, **GOOD).instance_id


def test_all_faults_are_reported_together_with_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "LISTEN": "nowhere",
        "SIZE": "0",
        "NATS_URL": "nats://127.0.0.1:4222",
        "LOG_LEVEL": "loud",
        "INSTANCE_ID": "Not An Id",
        "DRAIN_S": "-1",
    }
    with pytest.raises(SettingsError) as e:
        load(monkeypatch, **bad)
    for name in (*bad, "IDENTITY", "DATA_DIR"):
        assert e.value.message.count(f"YGG_THING_{name}:") == 1
    assert e.value.message.count("YGG_THING_") == 8
    assert e.value.hint


def test_a_secret_put_in_the_wrong_variable_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as e:
        load(monkeypatch, **{**GOOD, "SIZE": "hunter2-is-my-password"})
    assert "hunter2" not in e.value.message


def test_settings_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(monkeypatch, **GOOD)
    with pytest.raises(ValidationError):
        found.listen = "127.0.0.1:1"


@given(st.from_regex(r"\A[0-9A-Za-z.:\[\]-]{0,20}\Z") | st.text(max_size=20))
@example("127.0.0.1:0")
@example("127.0.0.1:65535")
@example("127.0.0.1:65536")
@example("[::1]:50051")
@example("::1:50051")
@example("jotunheim_bridge:50052")
@example("host:")
@example(":50051")
@example("host:+1")
@example("host:१")
@example("host:1\n")
@example("http://host:1")
def test_an_endpoint_is_a_host_and_a_port(text: str) -> None:
    host, colon, port = text.rpartition(":")
    plain = bool(host) and host.isascii() and all(c.isalnum() or c in "._-" for c in host)
    inside = host[1:-1]
    bracketed = host[:1] == "[" and host[-1:] == "]" and bool(inside) and set(inside) <= set("0123456789abcdefABCDEF:")
    digits = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    wanted = bool(colon) and digits and (plain or bracketed)
    try:
        assert TypeAdapter(Endpoint).validate_python(text) == text
    except ValidationError:
        assert not wanted
    else:
        assert wanted


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("SIZ", "3", "YGG_THING_SIZ: unknown setting; did you mean YGG_THING_SIZE?"),
        ("QQQQ", "3", "YGG_THING_QQQQ: unknown setting"),
        ("SIZE", "", "YGG_THING_SIZE: empty; set a value or unset it"),
        ("DATA_DIR", "", "YGG_THING_DATA_DIR: empty; set a value or unset it"),
    ],
)
def test_settings_name_a_variable_that_is_empty_or_misspelt(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, fault: str
) -> None:
    with pytest.raises(SettingsError) as e:
        load(monkeypatch, **{**GOOD, name: value})
    assert e.value.message == fault


def test_settings_accept_an_ipv6_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, **{**GOOD, "LISTEN": "[::1]:50051"}).listen == "[::1]:50051"
