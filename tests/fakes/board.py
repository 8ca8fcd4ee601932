"""The real agent as a process, and its simulated board asked through the control socket: the hardware itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.fixtures.wait import until
from ygg.mesh.child import die_with_parent

AGENT = Path(__file__).resolve().parents[2] / "build" / "firmware" / "posix" / "ygg-agent"
_FILES = {"ca": "services.pem", "cert": "cert.pem", "key": "key.pem"}


class Agent:
    """`ygg-agent` for one device or several, and their boards."""

    def __init__(self, device_id: str, link: str, directory: Path, *options: str) -> None:
        self.device_id = device_id
        self._control, self._log = directory / f"{device_id}.sock", directory / f"{device_id}.log"
        arguments = [f"--id={device_id}", f"--connect={link}", f"--control={self._control}", "--backoff-max-ms=1000"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [AGENT, *arguments, *options], stderr=log, preexec_fn=die_with_parent(os.getpid(), signal.SIGKILL)
            )
        until(self._control.exists, what=f"the agent's control socket; {self._log}")

    @classmethod
    def one(cls, device_id: str, link: str, identity: Path, directory: Path, *options: str) -> Agent:
        """One device with the identity directory `identity`."""
        trust = [f"--{flag}={identity / name}" for flag, name in _FILES.items()]
        return cls(device_id, link, directory, *trust, *options)

    @classmethod
    def fleet(cls, prefix: str, count: int, link: str, identities: Path, directory: Path) -> Agent:
        """`prefix`-1 to `prefix`-`count`, with identity directories in `identities`."""
        trust = f"--ca={identities / f'{prefix}-1' / 'services.pem'}"
        return cls(prefix, link, directory, f"--count={count}", f"--identities={identities}", trust)

    def lines(self, command: str) -> list[str]:
        """One command of the control socket, its answer's lines."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self._control))
            control.sendall(f"{command}\n".encode())
            found = []
            for line in control.makefile():
                if line == ".\n":
                    break
                found.append(line.rstrip("\n"))
                if not command.startswith(("list", "spread", "stats")):
                    break
            return found

    def ask(self, command: str) -> str:
        """One command of the control socket, the first line of its answer."""
        return self.lines(command)[0]

    def get(self, what: str) -> str:
        """The state of the hardware, such as `led0.on`."""
        return self.get_of(self.device_id, what)

    def get_of(self, device_id: str, what: str) -> str:
        """The same of one device among several."""
        return self.ask(f"get {device_id} {what}")

    def set(self, what: str, value: object) -> None:
        """Changes the hardware from outside, as the weather would."""
        self.set_of(self.device_id, what, value)

    def set_of(self, device_id: str, what: str, value: object) -> None:
        """The same of one device among several."""
        answer = self.ask(f"set {device_id} {what} {value}")
        assert not answer.startswith("error"), answer

    def states(self) -> list[str]:
        """What each device says of its session, such as `active`."""
        return [line.split()[1] for line in self.lines("list")]

    def active(self) -> bool:
        """Whether every device says that its session is active."""
        return set(self.states()) == {"active"}

    def log(self) -> str:
        """The output of the agent."""
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
