"""Print the index and proxy settings of this machine's pip, as lines of a pip.conf.

Selects the settings that an image build needs to reach the same package index,
without local folders (`file://` indexes, find-links), which a build cannot
access. Reads `pip config list`, which merges the files and the PIP_*
environment. Prints nothing without pip.
"""

from __future__ import annotations

import ast
import subprocess
import sys

_KEYS = ("index-url", "extra-index-url", "proxy", "trusted-host", "default-timeout", "timeout")
_REMOTE = ("http://", "https://")
_URL_KEYS = ("index-url", "extra-index-url")


def parse(listing: str) -> dict[str, str]:
    """Return settings by key from `pip config list`; the environment, listed first, takes precedence."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        key = name.rpartition(".")[2]
        if separator and key in _KEYS:
            found.setdefault(key, str(ast.literal_eval(value)))
    return found


def remote_only(key: str, value: str) -> str:
    """Return the value without indexes in local folders."""
    if key not in _URL_KEYS:
        return value
    return " ".join(url for url in value.split() if url.startswith(_REMOTE))


def main() -> None:
    """Print one `key = value` line for each setting that a build can use."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    for key, value in parse(listing.stdout).items():
        if kept := remote_only(key, value):
            print(f"{'timeout' if key == 'default-timeout' else key} = {kept}")


if __name__ == "__main__":
    main()
