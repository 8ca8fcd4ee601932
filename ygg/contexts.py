"""Contexts: the endpoints of each known mesh and the identity to use there.

Owns contexts.json. Does not connect.

    {"schema": 1, "current": "local",
     "contexts": {"local": {"identity": "/…/user/operator", "registry": "127.0.0.1:50051", …}}}
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from services.domain import endpoints, text
from services.domain.errors import InvalidRequestError
from ygg.exits import CliError, Exit, UsageError
from ygg.files import SECRET, private_dir, write_atomic
from ygg.home import Home

LOCAL = "local"
VARIABLE = "YGG_CONTEXT"
SERVICES = ("registry", "jotunheim_bridge", "loki", "ota")
_SCHEMA = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Context:
    """One mesh. Endpoints are HOST:PORT; `nats_monitor` is an http URL, empty if not reachable from here.

    `mesh` is the directory of the embedded mesh of this machine, empty for any other mesh.
    """

    identity: str
    registry: str = "127.0.0.1:50051"
    jotunheim_bridge: str = "127.0.0.1:50052"
    loki: str = "127.0.0.1:50053"
    ota: str = "127.0.0.1:50054"
    link: str = "127.0.0.1:7443"
    nats_monitor: str = ""
    mesh: str = ""

    def endpoint(self, service: str) -> str:
        """Return the endpoint of a service of SERVICES."""
        return str(getattr(self, service))


class Contexts:
    """contexts.json of one home. If missing, the only context is `local` at the default ports."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._path = home.contexts
        self.current, self.all = self._load()

    def get(self, name: str = "") -> tuple[str, Context]:
        """Return name and context; an empty name selects the current one. Raises CliError if it does not exist."""
        name = name or self.current
        if name not in self.all:
            raise CliError(
                f"context {name!r} not found",
                hint=f"Known: {', '.join(sorted(self.all))}. Add it:  ygg context set {name} --identity DIR",
                code=Exit.NOT_FOUND,
            )
        return name, self.all[name]

    def put(self, name: str, context: Context) -> None:
        """Add or replace a context. Raises UsageError for a bad name or endpoint."""
        if not _NAME.match(name):
            raise UsageError(f"invalid context name {name!r}", hint="A name has 1 to 63 characters of a-z, 0-9 and -.")
        for service in (*SERVICES, "link"):
            check_endpoint(service, context.endpoint(service))
        self.all[name] = context
        self._save()

    def remove(self, name: str) -> None:
        """Remove a context if it exists; if it was the current one, `local` becomes current."""
        self.all.pop(name, None)
        self.current = LOCAL if self.current == name else self.current
        self._save()

    def use(self, name: str) -> None:
        """Make a context the current one."""
        self.current, _ = self.get(name)
        self._save()

    def selects(self) -> str:
        """Return the name of the current context, from $YGG_CONTEXT or else contexts.json."""
        return os.environ.get(VARIABLE) or self.current

    def _load(self) -> tuple[str, dict[str, Context]]:
        local = Context(
            identity=str(self._home.identity("user", "operator")),
            nats_monitor="http://127.0.0.1:8222",
            mesh=str(self._home.mesh),
        )
        if not self._path.exists():
            return LOCAL, {LOCAL: local}
        try:
            data = json.loads(text.decode(self._path.read_bytes(), self._path))
            found = {name: _context(entry) for name, entry in data["contexts"].items()}
            return str(data["current"]), {LOCAL: local, **found}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, text.TextError) as e:
            raise CliError(f"cannot read {self._path}: {e}", hint="Fix the file, or delete it to start over.") from e

    def _save(self) -> None:
        private_dir(self._path.parent)
        data = {
            "schema": _SCHEMA,
            "current": self.current,
            "contexts": {name: asdict(context) for name, context in sorted(self.all.items())},
        }
        write_atomic(self._path, (json.dumps(data, indent=2) + "\n").encode(), SECRET)


def unreachable_hint(name: str) -> str:
    """Return the hint for an unreachable mesh; only the local one can be started with `ygg up`."""
    if name == LOCAL:
        return "Start the mesh:  ygg up      Check services:  ygg status      List other meshes:  ygg context ls"
    return (
        f"Start the mesh of context {name} on its own host.      "
        f"Use the mesh of this machine:  ygg context use {LOCAL}      List other meshes:  ygg context ls"
    )


def no_identity_hint(name: str) -> str:
    """Return the hint for a missing identity; only the PKI of the context's own mesh can issue one."""
    if name == LOCAL:
        return "The first start of the mesh creates it:  ygg up"
    return (
        f"Get one from the mesh of context {name} (in containers: `make creds`), "
        f"then set it:  ygg context set {name} --identity DIR"
    )


def check_endpoint(what: str, value: str) -> str:
    """Return `value` if it is HOST:PORT, else raise UsageError."""
    try:
        good = endpoints.split(value)[1] > 0
    except InvalidRequestError:
        good = False
    if not good:
        raise UsageError(
            f"{what}: invalid endpoint {value!r}", hint="Expected HOST:PORT, such as 10.0.0.7:50051 or [::1]:50051."
        )
    return value


def updated(context: Context, **changes: str | None) -> Context:
    """Return the context with the fields that are not None replaced; a path becomes absolute."""
    given = {key: value for key, value in changes.items() if value is not None}
    if "identity" in given:
        given["identity"] = str(Path(given["identity"]).expanduser().absolute())
    return replace(context, **given)


def _context(entry: dict[str, Any]) -> Context:
    known = {field.name for field in fields(Context)}
    return Context(**{key: str(value) for key, value in entry.items() if key in known})
