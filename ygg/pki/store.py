"""The PKI directory: root, three CAs, and the list of issued certificates.

    pki/
      root.pem      root.key       (0600; move it offline after init: issuing does not need it)
      device-ca.pem device-ca.key  (0600; PKCS #8, encrypted with the CA passphrase unless made without one)
      service-ca.pem service-ca.key
      user-ca.pem   user-ca.key
      issued.jsonl                 one line per certificate: serial, identity, start, end
      .lock

Owns reading, writing and locking these files; `ygg.pki.x509` builds certificates.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509 as cx509

from ygg.exits import CliError, UsageError
from ygg.files import SECRET, locked, private_dir, write_atomic
from ygg.pki import x509
from ygg.pki.names import Identity, Kind
from ygg.pki.x509 import NO_NAMES, Names, Pair

Clock = Callable[[], dt.datetime]
Passphrase = Callable[[], bytes]
"""Returns the passphrase of the CA keys; called only when a key is needed."""

_ROOT = "root"
_MAX_DAYS = x509.CA_DAYS


def utc_now() -> dt.datetime:
    """Return the current time in whole seconds, the resolution of certificates."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Issued:
    """One line of the list of issued certificates."""

    serial: str
    uri: str
    not_before: dt.datetime
    not_after: dt.datetime


class Store:
    """An existing PKI directory."""

    def __init__(self, path: Path, clock: Clock = utc_now, passphrase: Passphrase | None = None) -> None:
        if not (path / f"{_ROOT}.pem").is_file():
            raise CliError(f"no PKI in {path}", hint=f"Create one:  ygg pki init --dir {path}")
        self.path = path
        self._clock = clock
        self._passphrase = passphrase

    @classmethod
    def create(
        cls, path: Path, clock: Clock = utc_now, *, force: bool = False, passphrase: Passphrase | None = None
    ) -> Store:
        """Create root and CAs in `path`, with encrypted keys if there is a passphrase.

        Raises CliError if a PKI exists there, unless `force`.
        """
        private_dir(path)
        with locked(path / ".lock"):
            present = sorted(p.name for p in path.iterdir() if p.suffix in {".pem", ".key"})
            if present and not force:
                raise CliError(
                    f"{path} already holds a PKI ({', '.join(present)}); nothing was changed",
                    hint="Pass --force to replace it; all certificates issued from it become invalid.",
                )
            secret = passphrase() if passphrase else None
            _write_all(path, clock(), secret)
        return cls(path, clock, (lambda: secret) if secret else None)

    def root(self) -> cx509.Certificate:
        """Return the root certificate."""
        return self._cert(_ROOT)

    def ca(self, kind: Kind) -> cx509.Certificate:
        """Return the CA certificate of a kind."""
        return self._cert(f"{kind}-ca")

    def root_key_path(self) -> Path:
        """Return the path of the root key, which may have been moved offline."""
        return self.path / f"{_ROOT}.key"

    def ca_key(self, kind: Kind) -> x509.Key | None:
        """Return the CA key of a kind; None if it is not stored here."""
        path = self.path / f"{kind}-ca.key"
        return self._load(path) if path.is_file() else None

    def has_key(self, kind: Kind) -> bool:
        """Return whether the CA key of a kind is stored here."""
        return (self.path / f"{kind}-ca.key").is_file()

    def unencrypted_keys(self) -> list[str]:
        """Return the names of unencrypted key files, such as `root.key`."""
        keys = sorted(self.path.glob("*.key"))
        return [path.name for path in keys if not x509.is_encrypted(path.read_bytes())]

    def protect(self, new: Passphrase, present: Passphrase) -> list[str]:
        """Encrypt the unencrypted keys; return their names. Idempotent.

        Uses a `new` passphrase if no key is encrypted yet, else the `present` one, after checking it.
        """
        with locked(self.path / ".lock"):
            names = self.unencrypted_keys()
            encrypted = sorted({path.name for path in self.path.glob("*.key")} - set(names))
            secret = (present if encrypted else new)() if names else b""
            for name in encrypted if names else ():
                _decrypted(self.path / name, secret)
            for name in names:
                path = self.path / name
                write_atomic(path, x509.key_pem(x509.load_key(path.read_bytes()), secret), SECRET)
        return names

    def issue(self, subject: Identity, names: Names = NO_NAMES, days: int = x509.LEAF_DAYS) -> Pair:
        """Issue a key and a certificate for `subject`, valid for `days` (1 to 1825), and record it in the list.

        Raises UsageError for days out of range, CliError if the CA key is missing or the CA has expired.
        """
        if not 1 <= days <= _MAX_DAYS:
            raise UsageError(f"invalid validity of {days} days; pass --days 1 to {_MAX_DAYS}")
        if subject.kind is Kind.SERVICE:
            names = x509.service_names(subject.id, names)
        elif names.dns or names.ips:
            raise UsageError(f"a {subject.kind} certificate has no host names", hint="--dns and --ip are for services.")
        with locked(self.path / ".lock"):
            pair = x509.make_leaf(self._ca_pair(subject.kind), subject, names, self._clock(), days)
            self._note(pair.cert)
        return pair

    def issued(self) -> list[Issued]:
        """Return the issued certificates, oldest first."""
        path = self.path / "issued.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [_read_issued(line) for line in lines if line.strip()]

    def _ca_pair(self, kind: Kind) -> Pair:
        cert, key_path = self.ca(kind), self.path / f"{kind}-ca.key"
        if cert.not_valid_after_utc <= self._clock():
            raise CliError(
                f"the {kind} CA expired on {cert.not_valid_after_utc:%Y-%m-%d} and cannot issue certificates"
            )
        try:
            return Pair(cert, self._load(key_path))
        except FileNotFoundError:
            raise CliError(
                f"no {kind} CA key in {self.path}", hint=f"Restore {key_path.name} to issue certificates."
            ) from None

    def _load(self, path: Path) -> x509.Key:
        """Return the key in a file. Raises FileNotFoundError, and CliError if it cannot be decrypted."""
        data = path.read_bytes()
        encrypted = x509.is_encrypted(data)
        if encrypted and self._passphrase is None:
            raise CliError(f"{path.name} is encrypted with the CA passphrase", hint="Pass --ca-passphrase-file FILE.")
        return _decrypted(path, self._passphrase() if encrypted and self._passphrase else None)

    def _note(self, cert: cx509.Certificate) -> None:
        line = {
            "serial": f"{cert.serial_number:x}",
            "uri": x509.identity_uri(cert),
            "not_before": cert.not_valid_before_utc.isoformat(),
            "not_after": cert.not_valid_after_utc.isoformat(),
        }
        with (self.path / "issued.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _cert(self, name: str) -> cx509.Certificate:
        path = self.path / f"{name}.pem"
        try:
            return cx509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as e:
            why = e.strerror if isinstance(e, OSError) else "not a certificate"
            raise CliError(f"cannot read {path}: {why}") from e


def _decrypted(path: Path, passphrase: bytes | None) -> x509.Key:
    try:
        return x509.load_key(path.read_bytes(), passphrase)
    except ValueError as e:
        wrong = f"wrong CA passphrase for {path.name}"
        raise CliError(wrong if passphrase else f"{path} is not a private key: {e}") from e


def _write_all(path: Path, now: dt.datetime, passphrase: bytes | None) -> None:
    """Write keys first and the root certificate last: its presence marks the PKI as complete."""
    root = x509.make_root(now)
    (path / "root.pem").unlink(missing_ok=True)
    write_atomic(path / "issued.jsonl", b"", SECRET)
    for kind in Kind:
        pair = x509.make_ca(root, kind, now)
        write_atomic(path / f"{kind}-ca.key", x509.key_pem(pair.key, passphrase), SECRET)
        write_atomic(path / f"{kind}-ca.pem", x509.cert_pem(pair.cert))
    write_atomic(path / "root.key", x509.key_pem(root.key, passphrase), SECRET)
    write_atomic(path / "root.pem", x509.cert_pem(root.cert))


def _read_issued(line: str) -> Issued:
    data = json.loads(line)
    start, end = (dt.datetime.fromisoformat(data[key]) for key in ("not_before", "not_after"))
    return Issued(data["serial"], data["uri"], start, end)
