"""ScriptService: requests to use cases and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from services.chassis import codec
from services.chassis.rpc import caller
from services.loki.api import failure_told
from services.loki.messages import language_of, log_to_proto, result_to_proto
from services.loki.model import LogEntry
from services.loki.scripts.checks import Checker
from services.loki.scripts.logs import KEPT, ScriptLogs
from services.loki.scripts.messages import script_from_proto, script_to_proto
from services.loki.scripts.service import Scripts, matcher
from yggdrasil.loki.v1 import script_pb2 as pb
from yggdrasil.loki.v1 import script_pb2_grpc

NAME = pb.DESCRIPTOR.services_by_name["ScriptService"].full_name


class ScriptApi(script_pb2_grpc.ScriptServiceServicer):
    """The servicer. What each RPC does and how it fails stands in script.proto."""

    def __init__(self, scripts: Scripts, checker: Checker, logs: ScriptLogs) -> None:
        self._scripts, self._checker, self._logs = scripts, checker, logs

    async def RegisterScript(self, request: pb.RegisterScriptRequest, context: Any) -> pb.RegisterScriptResponse:
        """Keeps a script."""
        script = script_from_proto(request.script)
        with failure_told(script.file, ()):
            kept = await self._scripts.register(
                script, author=caller().uri, revision=request.revision, create_only=request.create_only
            )
        return pb.RegisterScriptResponse(script=script_to_proto(kept))

    async def GetScript(self, request: pb.GetScriptRequest, context: Any) -> pb.GetScriptResponse:
        """One script."""
        return pb.GetScriptResponse(script=script_to_proto(await self._scripts.get(request.name)))

    async def ListScripts(self, request: pb.ListScriptsRequest, context: Any) -> pb.ListScriptsResponse:
        """Scripts by name."""
        found = await self._scripts.list(request.pattern)
        return pb.ListScriptsResponse(scripts=[script_to_proto(script, source=False) for script in found])

    async def DeleteScript(self, request: pb.DeleteScriptRequest, context: Any) -> pb.DeleteScriptResponse:
        """Forgets a script."""
        await self._scripts.delete(request.name, request.revision)
        return pb.DeleteScriptResponse()

    async def RunScript(self, request: pb.RunScriptRequest, context: Any) -> AsyncIterator[pb.RunScriptResponse]:
        """Runs a script: its log as it comes, then its result."""
        script = await self._scripts.get(request.name)
        given = codec.values_from_proto(request.arguments)
        entries: asyncio.Queue[LogEntry | None] = asyncio.Queue()
        running = asyncio.create_task(self._scripts.run(script, request.device_id, given, entries.put_nowait))
        running.add_done_callback(lambda _: entries.put_nowait(None))
        try:
            while (entry := await entries.get()) is not None:
                yield pb.RunScriptResponse(log=log_to_proto(entry))
            with failure_told(script.file, ()):
                ended = await running
            yield pb.RunScriptResponse(result=result_to_proto(ended.outcome))
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def CheckScript(self, request: pb.CheckScriptRequest, context: Any) -> pb.CheckScriptResponse:
        """Looks at a text."""
        devices, findings = await self._checker.check(
            request.source, language_of(request.language), tuple(request.device_ids), request.selector
        )
        return pb.CheckScriptResponse(findings=findings, device_ids=devices)

    async def WatchScriptLogs(
        self, request: pb.WatchScriptLogsRequest, context: Any
    ) -> AsyncIterator[pb.WatchScriptLogsResponse]:
        """The last lines, then each as it comes."""
        async for line in self._logs.watch(matcher(request.pattern), min(request.last, KEPT)):
            yield line
