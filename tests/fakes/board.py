"""The real agent as a process, and its simulated board asked through the control socket: the hardware itself."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from tests.fixtures.wait import until

AGENT = Path(__file__).resolve().parents[2] / "build" / "firmware" / "posix" / "ygg-agent"


class Agent:
    """`ygg-agent` for one device, and its board."""

    def __init__(self, device_id: str, link: str, identity: Path, directory: Path, *options: str) -> None:
        self.device_id, self._control, self._log = (
            device_id,
            directory / f"{device_id}.sock",
            directory / f"{device_id}.log",
        )
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    AGENT,
                    f"--id={device_id}",
                    f"--connect={link}",
                    f"--ca={identity / 'services.pem'}",
                    f"--cert={identity / 'cert.pem'}",
                    f"--key={identity / 'key.pem'}",
                    f"--control={self._control}",
                    "--backoff-max-ms=1000",
                    *options,
                ],
                stderr=log,
            )
        until(self._control.exists, what=f"the agent's control socket; {self._log}")

    def ask(self, command: str) -> str:
        """One command of the control socket, its answer without the newline."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self._control))
            control.sendall(f"{command}\n".encode())
            return control.makefile().readline().rstrip("\n")

    def get(self, what: str) -> str:
        """The state of the hardware, such as `led0.on`."""
        return self.ask(f"get {self.device_id} {what}")

    def set(self, what: str, value: object) -> None:
        """Changes the hardware from outside, as the weather would."""
        answer = self.ask(f"set {self.device_id} {what} {value}")
        assert not answer.startswith("error"), answer

    def active(self) -> bool:
        """Whether the device itself says that its session is active."""
        return " active" in self.ask("list")

    def log(self) -> str:
        """What the agent has written."""
        return self._log.read_text()

    def kill(self) -> None:
        """SIGKILL: the power is cut."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(10)
