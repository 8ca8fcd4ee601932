"""The keys of root and CAs: encrypted by default, used with their passphrase only."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.fakes.clock import Clock
from ygg.exits import CliError, UsageError
from ygg.mesh.bootstrap import Bootstrap, run
from ygg.pki.names import Kind, identity
from ygg.pki.passphrase import VARIABLE, CaPassphrase, generate
from ygg.pki.store import Store

SECRET = "correct horse battery"


def given(text: str = SECRET) -> CaPassphrase:
    return CaPassphrase(lambda _: None, environ={VARIABLE: text})


def no_passphrase() -> CaPassphrase:
    """A process that was given none, and has no terminal."""
    return CaPassphrase(lambda _: None, environ={})


def test_passphrase_is_generated_and_shown_once_if_none_is_given() -> None:
    shown: list[str] = []
    secret = CaPassphrase(shown.append, environ={}).new()
    assert shown == [secret.decode()]
    assert generate() != generate()


def test_passphrase_from_a_file_wins_and_a_short_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file, long\n")
    assert CaPassphrase(lambda _: None, file, {VARIABLE: SECRET}).get() == b"from the file, long"
    file.write_text("short\n")
    with pytest.raises(UsageError, match="5 characters"):
        CaPassphrase(lambda _: None, file).new()
    with pytest.raises(CliError, match="cannot read the CA passphrase"):
        CaPassphrase(lambda _: None, tmp_path / "missing").get()


def test_bootstrap_leaves_only_registry_ca_key_readable(tmp_path: Path, clock: Clock) -> None:
    run(tmp_path, Bootstrap(), clock=clock, passphrase=given())
    keys = list((tmp_path / "pki").glob("*.key"))
    assert len(keys) == 4
    assert all(b"ENCRYPTED" in key.read_bytes() for key in keys)
    assert Store(tmp_path / "pki").unencrypted_keys() == []
    beside = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if "ca-key" in path.name]
    assert [str(path) for path in beside] == ["identities/service/registry/devices-ca-key.pem"]


def test_bootstrap_needs_the_passphrase_only_to_issue(tmp_path: Path, clock: Clock) -> None:
    run(tmp_path, Bootstrap(), clock=clock, passphrase=given())
    assert run(tmp_path, Bootstrap(), clock=clock, passphrase=no_passphrase()) == []
    with pytest.raises(CliError, match="CA passphrase required"):
        run(tmp_path, Bootstrap(users=("operator", "anna")), clock=clock, passphrase=no_passphrase())
    issued = run(tmp_path, Bootstrap(users=("operator", "anna")), clock=clock, passphrase=given())
    assert [one.id for one in issued] == ["anna"]


def test_bootstrap_continues_when_certificates_expire_soon(tmp_path: Path, clock: Clock) -> None:
    run(tmp_path, Bootstrap(), clock=clock, passphrase=given())
    clock.now += dt.timedelta(days=300)
    assert run(tmp_path, Bootstrap(), clock=clock, passphrase=no_passphrase()) == []
    clock.now += dt.timedelta(days=66)
    with pytest.raises(CliError, match="CA passphrase required"):
        run(tmp_path, Bootstrap(), clock=clock, passphrase=no_passphrase())


def test_wrong_passphrase_is_refused(tmp_path: Path, clock: Clock) -> None:
    Store.create(tmp_path / "pki", clock, passphrase=given().new)
    with pytest.raises(CliError, match="wrong CA passphrase"):
        Store(tmp_path / "pki", clock, given("another one, long").get).issue(identity(Kind.USER, "anna"))
    assert Store(tmp_path / "pki", clock).issued() == []


def test_protect_encrypts_exposed_keys_with_one_passphrase(tmp_path: Path, clock: Clock) -> None:
    store = Store.create(tmp_path / "pki", clock)
    assert store.unencrypted_keys() == ["device-ca.key", "root.key", "service-ca.key", "user-ca.key"]
    plain = (tmp_path / "pki" / "root.key").read_bytes()
    assert len(store.protect(given().new, no_passphrase().get)) == 4
    (tmp_path / "pki" / "root.key").write_bytes(plain)  # restored from a backup
    with pytest.raises(CliError, match="wrong CA passphrase"):
        store.protect(given().new, given("another one, long").get)
    assert store.protect(no_passphrase().new, given().get) == ["root.key"]
    assert store.protect(no_passphrase().new, no_passphrase().get) == []
    assert Store(tmp_path / "pki", clock, given().get).issue(identity(Kind.USER, "anna"))
