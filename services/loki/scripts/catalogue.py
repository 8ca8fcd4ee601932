"""All registered scripts, followed from the bucket `scripts` by every replica, and the protobuf classes made of them.

`current` is as new as the bucket at the time of the call: it waits until every earlier write, on any replica, is
applied. `recent` may be FRESH_S older, and so need not ask NATS for every call. Reflection and calls
both read it, so that they always agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from nats.js import JetStreamContext

from services.chassis import records
from services.chassis.buckets import SCRIPTS
from services.chassis.errors import StoreUnavailableError
from services.chassis.kv import Bucket, Entry
from services.chassis.streams import follow, last_sequence
from services.loki.scripts import descriptors
from services.loki.scripts.messages import script_from_bytes, script_to_bytes
from services.loki.scripts.model import RegisteredScript

CATCH_UP_S, FRESH_S = 5.0, 0.1


@dataclass(frozen=True)
class Snapshot:
    """The scripts of one moment. Files and classes are made when they are first asked for."""

    scripts: Mapping[str, RegisteredScript] = field(default_factory=dict)
    _made: dict[Any, Any] = field(default_factory=dict)

    def files(self) -> Mapping[str, descriptor_pb2.FileDescriptorProto]:
        """Return the files by name, with their comments; the service's only if there is a script."""
        if "files" not in self._made:
            files = [descriptors.script_file(script) for script in self.scripts.values()]
            if files:
                files.append(descriptors.service_file(self.scripts.values()))
            self._made["files"] = {file.name: file for file in files}
        made: Mapping[str, descriptor_pb2.FileDescriptorProto] = self._made["files"]
        return made

    def classes(self, name: str) -> tuple[type[Any], type[Any]]:
        """Return the classes of the request and the response of a script."""
        if ("classes", name) in self._made:
            known: tuple[type[Any], type[Any]] = self._made["classes", name]
            return known
        if "pool" not in self._made:
            self._made["pool"] = _pool(self.files().values())
        pool = self._made["pool"]
        found = [
            message_factory.GetMessageClass(
                pool.FindMessageTypeByName(f"{descriptors.PACKAGE}.{descriptors.message_name(name, what)}")
            )
            for what in ("Request", "Response")
        ]
        self._made["classes", name] = found[0], found[1]
        return found[0], found[1]


def _pool(files: Any) -> Any:
    """Return a separate pool with the files and their imports from the generated code."""
    pool, default = descriptor_pool.DescriptorPool(), descriptor_pool.Default()
    added: set[str] = set()

    def add(file: Any) -> None:
        if file.name not in added:
            added.add(file.name)
            for dependency in file.dependencies:
                add(dependency)
            pool.AddSerializedFile(file.serialized_pb)

    for name in (descriptors.DURATION_FILE, descriptors.VALUE_FILE, descriptors.LOKI_FILE):
        add(default.FindFileByName(name))
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


class Catalogue:
    """The scripts, kept in step with the bucket while `run` is running."""

    def __init__(self, js: JetStreamContext, bucket: Bucket) -> None:
        self._js, self._bucket = js, bucket
        self._scripts: dict[str, RegisteredScript] = {}
        self._snapshot = Snapshot()
        self._applied = 0
        self._known_s = -FRESH_S
        self._changed = asyncio.Condition()

    @classmethod
    async def open(cls, js: JetStreamContext) -> Catalogue:
        """Open the bucket, creating it if it is missing."""
        return cls(js, await Bucket.create(js, SCRIPTS))

    async def run(self) -> None:
        """Follow the bucket until cancelled."""
        prefix = len(SCRIPTS.subject(""))
        async for batch in follow(self._js, SCRIPTS.stream):
            for record in batch:
                self._apply(record.subject[prefix:], record.sequence, b"" if record.deleted else record.data)
            if batch:
                self._snapshot = Snapshot(dict(self._scripts))
                async with self._changed:
                    self._applied = batch[-1].sequence
                    self._changed.notify_all()

    def _apply(self, name: str, revision: int, data: bytes) -> None:
        self._scripts.pop(name, None)
        if data:
            script = records.try_decode(SCRIPTS.name, name, data, lambda found: script_from_bytes(found, revision))
            if script is not None:
                self._scripts[name] = script

    async def recent(self) -> Snapshot:
        """Return scripts at most FRESH_S old, with this replica's later writes; raise StoreUnavailableError."""
        if asyncio.get_running_loop().time() - self._known_s < FRESH_S:
            return self._snapshot
        return await self.current()

    async def current(self) -> Snapshot:
        """Return the scripts as of now; raise StoreUnavailableError if the bucket cannot be read."""
        asked_s = asyncio.get_running_loop().time()
        target = await last_sequence(self._js, SCRIPTS.stream)
        try:
            async with asyncio.timeout(CATCH_UP_S), self._changed:
                await self._changed.wait_for(lambda: self._applied >= target)
        except TimeoutError as e:
            raise StoreUnavailableError("the scripts could not be read in time", hint="Try again.") from e
        self._known_s = asked_s
        return self._snapshot

    async def stored(self, name: str) -> RegisteredScript | None:
        """Return the script as it stands in the bucket."""
        entry: Entry | None = await self._bucket.get(name)
        if entry is None:
            return None
        return records.decode(SCRIPTS.name, name, entry.value, lambda data: script_from_bytes(data, entry.revision))

    async def write(self, script: RegisteredScript, revision: int) -> int:
        """Write a script if `revision` (0: none) is current; return the new one. Raise RevisionConflictError."""
        data = script_to_bytes(script)
        if revision:
            return await self._bucket.update(script.name, data, revision)
        return await self._bucket.create_key(script.name, data)

    async def delete(self, name: str, revision: int) -> None:
        """Delete a script if `revision` is current. Raise RevisionConflictError."""
        await self._bucket.delete(name, revision)
