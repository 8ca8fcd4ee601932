"""The peer of `update_throughput`: Debian's nginx serves the image to as many concurrent C clients.

Configuration: bench/peers/nginx.conf. The clients (bench/c/download.c) hash the data without storing it; there are no
chunks and no signatures.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.harness import packages
from bench.harness.identities import BenchPki
from bench.harness.machine import BUILD, ROOT
from bench.harness.process import BenchError, Child, accepts, free_ports, until

NAME = "nginx TLS, ssl_buffer_size 4k"
_CONFIG = ROOT / "bench" / "peers" / "nginx.conf"


class Server:
    """One nginx on its own port that serves `root`."""

    def __init__(self, pki: BenchPki, folder: Path) -> None:
        self.pki, self.port, self.root = pki, free_ports(1)[0], folder / "root"
        self.root.mkdir()
        values = {
            "PORT": str(self.port),
            "IDENTITY": str(pki.directory("service", "nginx")),
            "CLIENT_CA": str(pki.broker_ca()),
            "FOLDER": str(folder),
            "ROOT": str(self.root),
            "USER": getpass.getuser(),
        }
        text = _CONFIG.read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        config = folder / "nginx.conf"
        config.write_text(text)
        self.process = Child(
            "nginx", [packages.program("nginx", "nginx-light"), "-c", str(config)], folder / "nginx.log"
        )
        until(self._listens, 20, f"nginx, see {folder / 'nginx.log'}")

    def _listens(self) -> bool:
        if not self.process.alive():
            raise BenchError(f"nginx has exited: {self.process.log.read_text()}")
        return accepts(self.port)

    def download(self, image: bytes, prefix: str, count: int) -> float:
        """Return bytes per second to `count` clients with device identities, from first request to last byte."""
        (self.root / "image.bin").write_bytes(image)
        argv = [str(BUILD / "bench-peer"), "--ca", str(self.pki.service_ca), "--identities", str(self.pki.devices)]
        argv += ["--id", prefix, "--count", str(count), "--port", str(self.port), "--to", "/image.bin", "download"]
        clients = Child("bench-peer download", argv, BUILD / "bench-peer-download.log")
        try:
            found = clients.line()
        finally:
            clients.stop()
        if found["sha256"] != hashlib.sha256(image).hexdigest() or found["bytes"] != count * len(image):
            raise BenchError(f"nginx did not serve the image: {found}")
        return float(found["bytes"] / found["seconds"])


@contextlib.contextmanager
def server(pki: BenchPki) -> Iterator[Server]:
    """Run a server."""
    folder = Path(tempfile.mkdtemp(prefix="ygg-bench-nginx-"))
    found: Server | None = None
    try:
        found = Server(pki, folder)
        yield found
    finally:
        if found is not None:
            found.process.stop()
        shutil.rmtree(folder, ignore_errors=True)
