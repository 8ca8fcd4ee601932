"""Asks the simulated board itself, past the link, the bridge and every cache: the agent's control socket."""

from __future__ import annotations

import socket
from pathlib import Path

from ygg.exits import CliError

_TIMEOUT_S = 5.0


class Board:
    """The board of one agent process; lines in, lines out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, device: str, prop: str) -> str:
        """A property such as `led0.on` as the hardware shows it: `on`, `off` or a number."""
        return self.ask(f"get {device} {prop}")

    def set(self, device: str, prop: str, value: str) -> None:
        """Change the hardware from outside: warm the sensor, pull a pin."""
        answer = self.ask(f"set {device} {prop} {value}")
        if answer != "ok":
            raise CliError(f"the board of {device} did not take {prop} {value}: {answer}")

    def ask(self, line: str) -> str:
        """One command of the control socket and its one line of answer. Raises CliError where it is an error."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(f"{line}\n".encode())
                with connection.makefile("rb") as answers:
                    answer = answers.readline().decode().strip()
        except OSError as e:
            raise CliError(f"the board does not answer at {self._path}: {e}") from e
        if not answer or answer.startswith("error"):
            raise CliError(f"the board answered {line!r} with {answer!r}")
        return answer
