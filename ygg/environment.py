"""Find environment variables `YGG_*` that are empty or misspelled. Pure.

Owns the list of known names. A service validates the variables of its own prefix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

_PREFIXES = tuple(f"YGG_{part}_" for part in ("REGISTRY", "BRIDGE", "LOKI", "OTA", "AGENT", "PORT", "SIM", "TEST"))
_NAMES = (
    *("YGG_HOME", "YGG_CONTEXT", "YGG_CA_PASSPHRASE", "YGG_TRACEBACK", "YGG_NATS_STORE_BYTES"),
    *("YGG_TAG", "YGG_BIND_LINK", "YGG_ENROL_ADVERTISE", "YGG_LOG_LEVEL", "YGG_OBJECT_STORE", "YGG_LONG_TESTS"),
)


def faults(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each variable that is empty or unknown, with the closest known name."""
    for name in sorted(name for name in environ if name.startswith("YGG_")):
        known = name in _NAMES or name.startswith(_PREFIXES)
        if not known:
            yield f"unknown variable {name}{_suggestion(name)}"
        elif not environ[name]:
            yield f"{name} is empty and is ignored"


def _suggestion(name: str) -> str:
    whole = difflib.get_close_matches(name, _NAMES, 1, 0.75)
    if whole:
        return f"; did you mean {whole[0]}?"
    head, mark, tail = name.removeprefix("YGG_").partition("_")
    prefix = difflib.get_close_matches(f"YGG_{head}{mark}", _PREFIXES, 1, 0.8) if mark else []
    return f"; did you mean {prefix[0]}{tail}?" if prefix else ""
