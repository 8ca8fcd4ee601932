"""Query a simulated board through the agent's control socket, bypassing the link and every cache.

firmware/ports/posix/control.h documents the commands. Used interactively
(`docker compose exec porch-1 board get porch-1 led0.on`) and, as
`board --healthy`, as the health check of the container: every device of the
agent must have an active session. Standard library only.
"""

from __future__ import annotations

import os
import socket
import sys

_SOCKET = "/run/ygg/control.sock"
_TIMEOUT_S = 3.0
_MULTILINE = frozenset({"list", "stats"})
"""Commands with a response of many lines that ends with a dot."""


def ask(path: str, words: list[str]) -> list[str]:
    """Return the response lines of one command. Raises OSError if the agent does not respond in time."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(path)
        connection.sendall((" ".join(words) + "\n").encode())
        lines = []
        for line in connection.makefile(encoding="utf-8"):
            text = line.rstrip("\n")
            if text == ".":
                break
            lines.append(text)
            if words[0] not in _MULTILINE or text.startswith("error: "):
                break
    return lines


def healthy(devices: list[str]) -> bool:
    """Return whether there are devices and all are active; each is a line `ID STATE …` of `list`."""
    return bool(devices) and all(device.split()[1] == "active" for device in devices)


def main(words: list[str]) -> int:
    """Run the command; exit status 0, 1 for an error or an unhealthy agent, 2 for wrong usage."""
    if not words:
        sys.stderr.write("usage: board --healthy | list | stats | get ID CAP.PROP | set ID CAP.PROP VALUE\n")
        return 2
    check = words == ["--healthy"]
    try:
        lines = ask(os.environ.get("YGG_CONTROL", _SOCKET), ["list"] if check else words)
    except OSError as e:
        sys.stderr.write(f"the agent does not answer: {e}\n")
        return 1
    print("\n".join(lines))
    if check:
        return 0 if healthy(lines) else 1
    return 1 if any(line.startswith("error: ") for line in lines) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
