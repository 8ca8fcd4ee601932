"""Client of the agent's control socket: reads the simulated board directly, bypassing link, bridge and caches."""

from __future__ import annotations

import socket
from pathlib import Path

from ygg.exits import CliError

_TIMEOUT_S = 5.0


class Board:
    """The board of one agent process, over a line protocol."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, device: str, prop: str) -> str:
        """Return a property of the hardware such as `led0.on`: `on`, `off` or a number."""
        return self.ask(f"get {device} {prop}")

    def set(self, device: str, prop: str, value: str) -> None:
        """Change a hardware value from outside, such as a sensor reading or a pin."""
        answer = self.ask(f"set {device} {prop} {value}")
        if answer != "ok":
            raise CliError(f"the board of {device} rejected {prop} {value}: {answer}")

    def ask(self, line: str) -> str:
        """Send a command line and return the response line. Raises CliError for an error response."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(f"{line}\n".encode())
                with connection.makefile("rb") as answers:
                    answer = answers.readline().decode().strip()
        except OSError as e:
            raise CliError(f"no response from the board at {self._path}: {e}") from e
        if not answer or answer.startswith("error"):
            raise CliError(f"the board returned {answer!r} for {line!r}")
        return answer
