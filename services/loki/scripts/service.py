"""The use cases of registered scripts: keep, find, forget, run. How they are served is `rpc`'s and `api`'s."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import RevisionConflictError
from services.domain.capability import Capability
from services.domain.matcher import match_all
from services.domain.values import Value
from services.loki import model
from services.loki.errors import InvalidScriptError
from services.loki.model import LogEntry, Outcome
from services.loki.ports import Clock, Mesh
from services.loki.scripts.catalogue import Catalogue, Snapshot
from services.loki.scripts.errors import (
    RequirementError,
    ScriptExistsError,
    ScriptNotFoundError,
    StaleScriptError,
)
from services.loki.scripts.logs import ScriptLogs
from services.loki.scripts.model import RegisteredScript, registered
from services.loki.service import Loki

MAX_SCRIPTS = 1000
CONTRACT_TIMEOUT_S = 10.0
_PATTERN = re.compile(r"[a-z0-9_*?]{0,64}\Z")


@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """The outcome of a run: its resource use, and its results by declared name."""

    outcome: Outcome
    results: Mapping[str, Value]


class Scripts:
    """The registered scripts of the mesh, as one replica serves them."""

    def __init__(self, loki: Loki, catalogue: Catalogue, mesh: Mesh, logs: ScriptLogs, clock: Clock) -> None:
        self._loki, self._catalogue, self._mesh, self._logs, self._clock = loki, catalogue, mesh, logs, clock

    async def register(
        self, script: RegisteredScript, *, author: str, revision: int, create_only: bool
    ) -> RegisteredScript:
        """Store a script that compiles. Raise ScriptError (SYNTAX), InvalidScriptError or StaleScriptError."""
        registered(script)
        await self._compiles(script)
        before = await self._catalogue.stored(script.name)
        current = before.revision if before else 0
        if before and create_only:
            raise ScriptExistsError(f"there is a script {script.name} already", current=current)
        if revision and revision != current:
            raise _stale(script.name, current)
        if not before and len((await self._catalogue.current()).scripts) >= MAX_SCRIPTS:
            raise InvalidScriptError(f"there are {MAX_SCRIPTS} scripts already", hint="Delete one.")
        now = self._clock.now()
        created = before.create_time if before else now
        kept = dataclasses.replace(script, create_time=created, update_time=now, author=author)
        try:
            written = await self._catalogue.write(kept, current)
        except RevisionConflictError as e:
            if revision or create_only:
                raise _stale(script.name, 0) from e
            return await self.register(script, author=author, revision=0, create_only=False)  # another was faster
        await self._catalogue.current()
        return dataclasses.replace(kept, revision=written)

    async def _compiles(self, script: RegisteredScript) -> None:
        checked = model.script(script.source, script.language, name=script.file, limits=script.limits)
        await self._loki.execute(dataclasses.replace(checked, check_only=True), lambda _: None)

    async def get(self, name: str) -> RegisteredScript:
        """Return a script; raise ScriptNotFoundError."""
        return _named(await self._catalogue.current(), name)

    async def list(self, pattern: str) -> Sequence[RegisteredScript]:
        """Return the matching scripts, ordered by name."""
        found = (await self._catalogue.current()).scripts
        matches = matcher(pattern)
        return [found[name] for name in sorted(found) if matches(name)]

    async def delete(self, name: str, revision: int) -> None:
        """Delete a script; raise ScriptNotFoundError or StaleScriptError."""
        before = await self._catalogue.stored(name)
        if before is None:
            raise ScriptNotFoundError(f"there is no script {name}")
        if revision and revision != before.revision:
            raise _stale(name, before.revision)
        try:
            await self._catalogue.delete(name, before.revision)
        except RevisionConflictError as e:
            raise _stale(name, 0) from e
        await self._catalogue.current()

    async def snapshot(self) -> Snapshot:
        """Return all current scripts, with the classes of their messages."""
        return await self._catalogue.current()

    async def called(self, name: str) -> tuple[RegisteredScript, type[Any], type[Any]]:
        """A script that is about to run, with the classes of its request and response; raises ScriptNotFoundError.

        What another replica has changed within the last tenth of a second may not be seen; a script that is not there
        is looked for again.
        """
        snapshot = await self._catalogue.recent()
        if name not in snapshot.scripts:
            snapshot = await self._catalogue.current()
        return (_named(snapshot, name), *snapshot.classes(name))

    async def run(
        self, script: RegisteredScript, device_id: str, given: Mapping[str, Value], emit: Callable[[LogEntry], None]
    ) -> ScriptOutcome:
        """Run it; raise the errors of a run, RequirementError and UndeclaredResultError."""
        arguments = script.arguments(given)
        checked = model.script(
            script.source,
            script.language,
            name=script.file,
            device_id=device_id,
            arguments=arguments,
            limits=script.limits,
        )
        await self._meets(script, device_id)
        run_id = uuid.uuid4().hex[:12]

        def on_log(entry: LogEntry) -> None:
            emit(entry)
            self._logs.publish(script.name, run_id, device_id, entry)

        outcome = await self._loki.execute(checked, on_log)
        return ScriptOutcome(outcome, script.result(outcome.value))

    async def _meets(self, script: RegisteredScript, device_id: str) -> None:
        if not script.requires:
            return
        if not device_id:
            raise RequirementError(
                f"{script.name} requires {', '.join(script.requires)} and was given no device",
                hint="State device_id.",
            )
        raise_unmet(script, device_id, await self._mesh.capabilities(device_id, CONTRACT_TIMEOUT_S))


def raise_unmet(script: RegisteredScript, device_id: str, capabilities: Sequence[Capability]) -> None:
    """Raise RequirementError that lists the requirements that the contract fails."""
    failed = [clause.message for match in match_all(script.requirements(), capabilities) for clause in match.failed]
    if failed:
        raise RequirementError(
            f"{device_id} does not meet what {script.name} requires: {'; '.join(failed)}", device=device_id
        )


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a test of names against a pattern such as `porch_*`; "" matches all. Raise InvalidScriptError."""
    if not _PATTERN.match(pattern):
        raise InvalidScriptError("a pattern has a-z 0-9 _ and * and ?, at most 64 characters")
    return lambda name: not pattern or fnmatch.fnmatchcase(name, pattern)


def _named(snapshot: Snapshot, name: str) -> RegisteredScript:
    if name not in snapshot.scripts:
        raise ScriptNotFoundError(f"there is no script {name[:40]}", hint="See: ygg script ls")
    return snapshot.scripts[name]


def _stale(name: str, current: int) -> StaleScriptError:
    error = StaleScriptError(f"{name} has changed since it was read", hint="Read it again, and change that.")
    if current:
        error.data["current"] = str(current)
    return error
