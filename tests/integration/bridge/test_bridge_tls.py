"""TLS of the device link as OpenSSL's own client sees it: versions, cipher suites and groups."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from tests.fixtures.mesh import Mesh


async def dial(mesh: Mesh, *options: str) -> str:
    """Return the output of `openssl s_client` for a handshake with the bridge; it exits at the end of its input."""
    at = mesh.pki.directory("device", mesh.one)
    command = ["openssl", "s_client", "-connect", mesh.processes.endpoint("link"), "-alpn", "einherjar/1"]
    identity = ["-cert", str(at / "cert.pem"), "-key", str(at / "key.pem"), "-CAfile", str(at / "services.pem")]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, *identity, "-partial_chain", "-verify_return_error", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
@pytest.mark.parametrize(("group", "named"), [("P-256", "prime256v1"), ("X25519", "X25519")])
async def test_bridge_speaks_each_suite_and_group(mesh: Mesh, suite: str, group: str, named: str) -> None:
    said = await dial(mesh, "-ciphersuites", suite, "-curves", group, "-sigalgs", "ECDSA+SHA256")
    assert f"New, TLSv1.3, Cipher is {suite}" in said, said
    key = f"Temp Key: {'ECDH, ' if group == 'P-256' else ''}{named}"  # of the "Server", since OpenSSL 3.5 of the "Peer"
    assert key in said, said
    assert "ALPN protocol: einherjar/1" in said
    assert "Verify return code: 0 (ok)" in said


async def test_bridge_refuses_tls_1_2(mesh: Mesh) -> None:
    said = await dial(mesh, "-tls1_2")
    assert "Cipher is (NONE)" in said


async def test_bridge_takes_no_early_data(mesh: Mesh) -> None:
    said = await dial(mesh)
    assert "Max Early Data: 0" in said or "Max Early Data" not in said, said
