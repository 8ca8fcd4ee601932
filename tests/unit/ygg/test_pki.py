"""PKI: contents of certificates, permissions of keys, rejected input."""

import datetime as dt
import ipaddress
import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509 as cx509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.chassis.identity import of_sans
from tests.fakes.clock import NOW, Clock
from ygg.exits import CliError, UsageError
from ygg.pki import identities, x509
from ygg.pki.names import Kind, identity
from ygg.pki.store import Store
from ygg.pki.x509 import NO_NAMES, Names

ALL = [(Kind.DEVICE, "porch-1"), (Kind.SERVICE, "jotunheim_bridge"), (Kind.USER, "anna")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def san(cert: cx509.Certificate) -> cx509.SubjectAlternativeName:
    return cert.extensions.get_extension_for_class(cx509.SubjectAlternativeName).value


def openssl_verify(leaf: cx509.Certificate, trust: Path, tmp: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    path = tmp / "leaf.pem"
    path.write_bytes(leaf.public_bytes(Encoding.PEM))
    at = str(int(NOW.timestamp()) + 60)
    command = ["openssl", "verify", "-attime", at, "-partial_chain", "-x509_strict", "-CAfile", str(trust), *extra]
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_identity_is_the_uri_san_and_the_mesh_reads_it(store: Store, kind: Kind, name: str) -> None:
    subject = identity(kind, name)
    uris = san(store.issue(subject).cert).get_values_for_type(cx509.UniformResourceIdentifier)
    assert uris == [f"ygg://main/{kind}/{name}"]
    assert of_sans(uris).uri == subject.uri


def test_service_certificates_carry_loopback_and_both_spellings(store: Store) -> None:
    more = Names(["bridge.lan"], [ipaddress.ip_address("10.0.0.7")])
    names = san(store.issue(identity(Kind.SERVICE, "jotunheim_bridge"), more).cert)
    dns = names.get_values_for_type(cx509.DNSName)
    assert dns == ["localhost", "jotunheim_bridge", "jotunheim-bridge", "bridge.lan"]
    assert [str(a) for a in names.get_values_for_type(cx509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.7"]


@pytest.mark.parametrize(
    ("kind", "name", "purposes"),
    [
        (Kind.DEVICE, "d", {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (Kind.USER, "u", {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (Kind.SERVICE, "s", {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}),
    ],
)
def test_a_leaf_is_no_ca_and_has_only_its_purposes(store: Store, kind: Kind, name: str, purposes: set[object]) -> None:
    extensions = store.issue(identity(kind, name)).cert.extensions
    assert not extensions.get_extension_for_class(cx509.BasicConstraints).value.ca
    assert set(extensions.get_extension_for_class(cx509.ExtendedKeyUsage).value) == purposes
    usage = extensions.get_extension_for_class(cx509.KeyUsage).value
    assert usage.digital_signature and not usage.key_cert_sign


def test_cas_may_sign_leaves_only_and_the_root_may_sign_cas_only(store: Store) -> None:
    lengths = [store.root(), *(store.ca(kind) for kind in Kind)]
    found = [c.extensions.get_extension_for_class(cx509.BasicConstraints).value.path_length for c in lengths]
    assert found == [1, 0, 0, 0]
    for kind in Kind:
        store.ca(kind).verify_directly_issued_by(store.root())


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_openssl_accepts_every_leaf_under_strict_rules(store: Store, tmp_path: Path, kind: Kind, name: str) -> None:
    trust = tmp_path / "ca.pem"
    trust.write_bytes(x509.cert_pem(store.ca(kind)))
    done = openssl_verify(store.issue(identity(kind, name)).cert, trust, tmp_path)
    assert done.returncode == 0, done.stderr


def test_device_certificate_fails_against_clients_pem(store: Store, tmp_path: Path) -> None:
    bridge = tmp_path / "bridge"
    subject = identity(Kind.SERVICE, "jotunheim_bridge")
    identities.issue(store, subject, bridge, NO_NAMES, 365, force=False)
    device = store.issue(identity(Kind.DEVICE, "porch-1")).cert
    assert openssl_verify(device, bridge / "clients.pem", tmp_path).returncode != 0
    # Nor when the device sends along its CA, and even the root.
    untrusted = tmp_path / "untrusted.pem"
    untrusted.write_bytes(x509.cert_pem(store.ca(Kind.DEVICE), store.root()))
    chained = openssl_verify(device, bridge / "clients.pem", tmp_path, "-untrusted", str(untrusted))
    assert chained.returncode != 0
    assert openssl_verify(device, bridge / "devices.pem", tmp_path).returncode == 0


def test_keys_are_0600_and_directories_0700_whatever_the_umask(tmp_path: Path, clock: Clock) -> None:
    before = os.umask(0)
    try:
        store = Store.create(tmp_path / "a" / "pki", clock)
        out = tmp_path / "b" / "porch-1"
        identities.issue(store, identity(Kind.DEVICE, "porch-1"), out, NO_NAMES, 365, force=False)
    finally:
        os.umask(before)
    keys = [p for p in tmp_path.rglob("*") if p.suffix == ".key" or p.name == "key.pem"]
    assert len(keys) == 5
    assert {mode(p) for p in keys} == {0o600}
    assert {mode(p) for p in tmp_path.rglob("*") if p.is_dir()} == {0o700}


def test_identity_directory_holds_only_files_of_its_process(store: Store, tmp_path: Path) -> None:
    for kind, name in ALL:
        identities.issue(store, identity(kind, name), tmp_path / name, NO_NAMES, 365, force=False)
    common = {"cert.pem", "key.pem", "services.pem", "clients.pem"}
    assert {p.name for p in (tmp_path / "porch-1").iterdir()} == common
    assert {p.name for p in (tmp_path / "jotunheim_bridge").iterdir()} == common | {"devices.pem"}
    chain = cx509.load_pem_x509_certificates((tmp_path / "porch-1" / "cert.pem").read_bytes())
    assert chain[1:] == [store.ca(Kind.DEVICE)]
    trust = cx509.load_pem_x509_certificates((tmp_path / "anna" / "clients.pem").read_bytes())
    assert trust == [store.ca(Kind.SERVICE), store.ca(Kind.USER)]


def test_a_device_chain_is_small(store: Store) -> None:
    longest = identity(Kind.DEVICE, "d" * 63)
    chain = [store.issue(longest).cert, store.ca(Kind.DEVICE)]
    assert sum(len(c.public_bytes(Encoding.DER)) for c in chain) <= 1200


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a/b", "a.b", "ä", "a" * 64, "a\n", "../x", "a b"])
def test_invalid_device_ids_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="invalid device id"):
        identity(Kind.DEVICE, name)


def test_init_refuses_to_replace_a_pki_with_advice(store: Store, clock: Clock) -> None:
    before = store.root()
    with pytest.raises(CliError, match="already holds a PKI") as refused:
        Store.create(store.path, clock)
    assert "--force" in refused.value.hint
    assert store.root() == before
    assert Store.create(store.path, clock, force=True).root() != before


def test_issue_refuses_to_replace_an_identity(store: Store, tmp_path: Path) -> None:
    subject, out = identity(Kind.DEVICE, "porch-1"), tmp_path / "out"
    identities.issue(store, subject, out, NO_NAMES, 365, force=False)
    key = (out / "key.pem").read_bytes()
    with pytest.raises(CliError, match="already holds an identity"):
        identities.issue(store, subject, out, NO_NAMES, 365, force=False)
    assert (out / "key.pem").read_bytes() == key
    identities.issue(store, subject, out, NO_NAMES, 365, force=True)
    assert (out / "key.pem").read_bytes() != key


def test_issuing_needs_neither_the_roots_key_nor_another_kinds(store: Store) -> None:
    for name in ("root.key", "service-ca.key", "user-ca.key"):
        (store.path / name).unlink()
    store.issue(identity(Kind.DEVICE, "porch-1"))
    with pytest.raises(CliError, match="no user CA key in") as missing:
        store.issue(identity(Kind.USER, "anna"))
    assert "user-ca.key" in missing.value.hint


@pytest.mark.parametrize("days", [0, -1, 1826, 10**9])
def test_a_validity_that_makes_no_sense_is_refused(store: Store, days: int) -> None:
    with pytest.raises(UsageError, match="invalid validity"):
        store.issue(identity(Kind.DEVICE, "porch-1"), days=days)


def test_an_expired_certificate_can_be_made_by_moving_the_clock(store: Store, clock: Clock) -> None:
    clock.forward(days=-400)
    with_past = store.issue(identity(Kind.DEVICE, "porch-1"), days=30).cert
    assert with_past.not_valid_after_utc == NOW - dt.timedelta(days=370)


def test_leaf_never_outlives_ca_and_expired_ca_issues_none(store: Store, clock: Clock) -> None:
    clock.forward(days=x509.CA_DAYS - 10)
    leaf = store.issue(identity(Kind.USER, "anna")).cert
    assert leaf.not_valid_after_utc == store.ca(Kind.USER).not_valid_after_utc
    clock.forward(days=11)
    with pytest.raises(CliError, match="user CA expired"):
        store.issue(identity(Kind.USER, "anna"))


def test_host_names_are_for_services(store: Store) -> None:
    with pytest.raises(UsageError, match="no host names"):
        store.issue(identity(Kind.DEVICE, "porch-1"), Names(["x.lan"]))


def test_issued_certificates_are_listed(store: Store) -> None:
    for kind, name in ALL:
        store.issue(identity(kind, name))
    assert [e.uri for e in store.issued()] == [f"ygg://main/{kind}/{name}" for kind, name in ALL]
    assert all(e.not_after == NOW + dt.timedelta(days=365) for e in store.issued())


class TestEnsure:
    """`ygg up` and containers call it at every start."""

    subject = identity(Kind.SERVICE, "loki")

    def ensure(self, store: Store, path: Path, clock: Clock, names: Names = NO_NAMES) -> bool:
        return identities.ensure(store, self.subject, path, now=clock(), names=names)

    def test_valid_files_are_kept(self, store: Store, tmp_path: Path, clock: Clock) -> None:
        assert self.ensure(store, tmp_path / "loki", clock)
        before = (tmp_path / "loki" / "cert.pem").read_bytes()
        clock.forward(days=200)
        assert not self.ensure(store, tmp_path / "loki", clock)
        assert (tmp_path / "loki" / "cert.pem").read_bytes() == before

    def test_renews_in_the_last_third_of_life(self, store: Store, tmp_path: Path, clock: Clock) -> None:
        self.ensure(store, tmp_path / "loki", clock)
        clock.forward(days=250)
        assert self.ensure(store, tmp_path / "loki", clock)

    @pytest.mark.parametrize("name", ["cert.pem", "key.pem", "services.pem"])
    @pytest.mark.parametrize("damage", [b"", b"garbage"])
    def test_damaged_files_are_repaired(
        self, store: Store, tmp_path: Path, clock: Clock, name: str, damage: bytes
    ) -> None:
        self.ensure(store, tmp_path / "loki", clock)
        (tmp_path / "loki" / name).write_bytes(damage)
        assert self.ensure(store, tmp_path / "loki", clock)
        assert not self.ensure(store, tmp_path / "loki", clock)

    def test_files_of_another_pki_are_replaced(self, store: Store, tmp_path: Path, clock: Clock) -> None:
        other = Store.create(tmp_path / "other", clock)
        self.ensure(other, tmp_path / "loki", clock)
        assert self.ensure(store, tmp_path / "loki", clock)

    def test_replaces_a_key_that_is_not_the_certificates(self, store: Store, tmp_path: Path, clock: Clock) -> None:
        self.ensure(store, tmp_path / "loki", clock)
        (tmp_path / "loki" / "key.pem").write_bytes(x509.key_pem(x509.new_key()))
        assert self.ensure(store, tmp_path / "loki", clock)

    def test_issues_again_for_a_new_host_name(self, store: Store, tmp_path: Path, clock: Clock) -> None:
        self.ensure(store, tmp_path / "loki", clock)
        assert self.ensure(store, tmp_path / "loki", clock, Names(["loki.lan"]))
