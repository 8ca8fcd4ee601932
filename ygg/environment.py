"""Variables `YGG_*` of a shell that say nothing: empty, or misspelt. Pure.

Owns which names there are; what each means is where it is read. A service checks those of its own prefix itself.
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
    """One line for each variable that is empty or unknown, with the name that may have been meant."""
    for name in sorted(name for name in environ if name.startswith("YGG_")):
        known = name in _NAMES or name.startswith(_PREFIXES)
        if not known:
            yield f"{name} is not known to ygg{_meant(name)}"
        elif not environ[name]:
            yield f"{name} is empty, which is as if it were not set"


def _meant(name: str) -> str:
    whole = difflib.get_close_matches(name, _NAMES, 1, 0.75)
    if whole:
        return f"; {whole[0]} is"
    head, mark, tail = name.removeprefix("YGG_").partition("_")
    prefix = difflib.get_close_matches(f"YGG_{head}{mark}", _PREFIXES, 1, 0.8) if mark else []
    return f"; {prefix[0]}{tail} may be" if prefix else ""
