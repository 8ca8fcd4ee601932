"""The mesh of docker-compose.yml under a separate project name and separate ports, isolated from other meshes.

Owns starting, killing, querying and removing it. Images must exist: deploy/run-tests.sh builds them.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import grpc
from docker.models.containers import Container
from docker.types import Mount

from services.chassis.credentials import credentials, options
from services.chassis.identity import IdentityFiles
from tests.fixtures.wait import free_ports, until

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("registry", "jotunheim_bridge", "loki", "ota")
DEVICES = ("porch-1", "porch-2")
_PORTS = {
    "registry": "YGG_PORT_REGISTRY",
    "jotunheim_bridge": "YGG_PORT_BRIDGE",
    "loki": "YGG_PORT_LOKI",
    "ota": "YGG_PORT_OTA",
    "link": "YGG_PORT_LINK",
    "enrol": "YGG_PORT_ENROL",
    "images": "YGG_PORT_IMAGES",
}
_PROFILES = ("--profile", "demo", "--profile", "s3")


@dataclass
class ComposeMesh:
    """One project of docker compose. `directory` is for the credentials of its users."""

    directory: Path
    project: str = field(default_factory=lambda: f"yggtest-{secrets.token_hex(4)}")
    ports: dict[str, int] = field(default_factory=lambda: dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True)))
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._docker = docker.from_env()

    def up(self, *services: str, profiles: tuple[str, ...] = ("demo",)) -> None:
        """Run `docker compose up -d --wait`; raise AssertionError with the logs if it fails."""
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        done = self._compose(*chosen, "up", "-d", "--wait", "--no-build", *services)
        assert done.returncode == 0, f"{done.stderr}\n{self.logs()}"

    def down(self) -> None:
        """Remove containers, networks and volumes in any state."""
        done = self._compose(*_PROFILES, "down", "--volumes", "--remove-orphans", "--timeout", "3")
        self._docker.close()
        assert done.returncode == 0, done.stderr

    def logs(self) -> str:
        """Return the last log lines of every container."""
        return self._compose(*_PROFILES, "logs", "--no-color", "--tail", "40").stdout

    def container(self, service: str) -> Container:
        """Return the current container of a service."""
        label = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        (found,) = self._docker.containers.list(all=True, filters={"label": label})
        return found

    def run(self, service: str, *command: str) -> str:
        """Run a command in a running container and return its output; raise AssertionError if it fails."""
        status, output = self.container(service).exec_run(list(command))
        text: str = output.decode()
        assert status == 0, f"{command} in {service}: {text}"
        return text.strip()

    def issue_devices(self, *names: str) -> None:
        """Issue certificates for more devices with the mesh's own `pki`, into the same place as those of the demo."""
        words = [word for name in names for word in ("--device", name)]
        done = self._compose("run", "--rm", "--no-deps", "-T", "pki", "bootstrap", "/pki", "--for", "compose", *words)
        assert done.returncode == 0, done.stderr

    def read(self, service: str, folder: str) -> dict[str, bytes]:
        """Return the files of a folder in a container, running or not."""
        parts, _ = self.container(service).get_archive(folder)
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
            opened = [(Path(entry.name).name, tar.extractfile(entry)) for entry in tar if entry.isfile()]
            return {name: file.read() for name, file in opened if file}

    def create(self, image: str, name: str, command: list[str], *, volume: str) -> Container:
        """Create another container on the network of devices, with the hardening of the project's own; not started.

        `volume` is a folder that exists in the image: the volume inherits its owner.
        """
        found: Container = self._docker.containers.create(
            f"yggdrasil-{image}:{self.environment_of_compose().get('YGG_TAG', 'dev')}",
            command,
            name=f"{self.project}-{name}",
            network=f"{self.project}_devices",
            user="10001:10001",
            init=True,
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            restart_policy={"Name": "unless-stopped"},
            mem_limit="64m",
            pids_limit=32,
            mounts=[Mount(volume, None, type="volume")],
        )
        return found

    def named(self, name: str) -> Container:
        """Return the current state of a container made by `create`."""
        return self._docker.containers.get(f"{self.project}-{name}")

    def remove(self, container: Container) -> None:
        """Remove a container made by `create`, with its volume."""
        container.remove(v=True, force=True)

    def kill(self, service: str) -> None:
        """Send SIGKILL to the service's process. `docker kill` would disable the restart policy."""
        container = self.container(service)
        init = container.attrs["State"]["Pid"]
        (pid,) = map(int, Path(f"/proc/{init}/task/{init}/children").read_text().split())
        restarts = container.attrs["RestartCount"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.container(service).attrs["RestartCount"] > restarts, 20, f"{service} restarted")

    def files(self, user: str = "operator") -> IdentityFiles:
        """Copy a user's credentials out of the pki container, as deploy/creds.sh does."""
        where = self.directory / user
        if not where.exists():
            done = subprocess.run(
                [ROOT / "deploy" / "creds.sh", where, user],
                env=self.environment_of_compose() | {"YGG_HOME": str(self.directory / "home")},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        return IdentityFiles(where)

    def endpoint(self, service: str) -> str:
        """Return the endpoint of a service on the host."""
        return f"127.0.0.1:{self.ports[service]}"

    def channel(self, service: str) -> grpc.Channel:
        """Open a channel as the operator, with the backoff of all clients of the mesh."""
        return grpc.secure_channel(self.endpoint(service), credentials(self.files()), options=list(options(service)))

    def grpcurl(
        self, service: str, *arguments: str, data: str = "", anonymous: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the real grpcurl with or without the operator's certificate. `arguments` are a verb or a method."""
        identity = self.files().directory
        files = {"-cacert": "services.pem"} | ({} if anonymous else {"-cert": "cert.pem", "-key": "key.pem"})
        flags = [word for flag, name in files.items() for word in (flag, str(identity / name))]
        body = ["-d", data] if data else []
        program = Path(sys.executable).parent / "grpcurl"
        return subprocess.run(
            [program, "-connect-timeout", "5", *flags, *body, self.endpoint(service), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def status(self) -> list[dict[str, Any]]:
        """Return the result of `ygg --context compose status --json`."""
        home = self.files().directory.parent / "home"
        command = [sys.executable, "-m", "ygg", "--context", "compose", "--json", "status"]
        environment = self.environment_of_compose() | {"YGG_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def board(self, device: str, member: str) -> str:
        """Return the board's value of a property, bypassing the link and every cache."""
        return self.run(device, "board", "get", device, member)

    def _compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *arguments],
            cwd=ROOT,
            env=self.environment_of_compose(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def environment_of_compose(self) -> dict[str, str]:
        """Return the environment of docker compose and of the scripts under deploy."""
        ports = {variable: str(self.ports[name]) for name, variable in _PORTS.items()}
        own = {"COMPOSE_PROJECT_NAME": self.project, "YGG_BIND_LINK": "127.0.0.1"}
        return {**os.environ, **ports, **own, **self.environment}
