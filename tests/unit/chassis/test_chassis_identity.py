"""Identities: their grammar and their files."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.chassis.errors import IdentityError
from services.chassis.identity import Identity, IdentityFiles, of_sans, parse_uri
from tests.fixtures.pki import Pki
from tests.fixtures.strategies import device_ids, member_ids


@given(member_ids, st.sampled_from(["device", "service", "user"]), device_ids | member_ids)
def test_an_identity_survives_its_uri(tenant: str, kind: str, name: str) -> None:
    subject = Identity(tenant, kind, name)
    assert parse_uri(subject.uri) == subject


@given(st.text(max_size=30) | st.text(max_size=20).map(lambda tail: f"ygg://main/device/{tail}"))
@example("ygg://main/device/porch-1\n")
@example("ygg://main/device/porch-1/extra")
@example("ygg://main/device/")
@example("ygg://main/device")
@example("ygg://main/root/porch-1")
@example("ygg://Main/device/porch-1")
@example("YGG://main/device/porch-1")
@example("ygg://main/device/Porch")
@example("ygg://main/device/a b")
@example("ygg://main/device/../user/operator")
@example("ygg:///device/porch-1")
@example("https://main/device/porch-1")
@example("ygg://main/device/" + "a" * 64)
def test_invalid_identity_is_refused(uri: str) -> None:
    try:
        subject = parse_uri(uri)
    except IdentityError as e:
        assert e.message.isprintable()
        return
    assert subject.uri == uri
    assert uri.count("/") == 4
    assert uri.isascii()
    assert subject.kind in ("device", "service", "user")
    assert 1 <= len(subject.id) <= 63


MINE = "ygg://main/user/operator"


@pytest.mark.parametrize("others", [[], ["localhost"], ["https://example/", "127.0.0.1"]])
def test_the_one_identity_among_other_names_counts(others: list[str]) -> None:
    assert of_sans([*others, MINE]) == Identity("main", "user", "operator")


@pytest.mark.parametrize(
    "names",
    [[], ["localhost"], [MINE, MINE], [MINE, "ygg://main/service/registry"], ["ygg://nonsense"], [MINE, "ygg://x"]],
)
def test_zero_or_two_identities_are_refused(names: list[str]) -> None:
    with pytest.raises(IdentityError):
        of_sans(names)


def test_missing_file_error_names_command_that_creates_it(tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path)
    uses: list[Callable[[], object]] = [
        lambda: files.read("cert.pem"),
        files.client_context,
        lambda: files.server_context("devices.pem"),
    ]
    for use in uses:
        with pytest.raises(IdentityError, match=r"\.pem") as e:
            use()
        assert "ygg pki issue" in e.value.hint


def test_contexts_speak_tls_1_3_and_verify_the_peer(pki: Pki) -> None:
    files = pki.files("service", "jotunheim_bridge")
    client, server = files.client_context(), files.server_context("devices.pem")
    for context in (client, server):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert client.check_hostname
