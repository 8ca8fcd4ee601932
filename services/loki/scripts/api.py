"""ScriptService: requests to use cases and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from services.chassis import codec
from services.chassis.rpc import caller
from services.domain import text
from services.domain.errors import YggError
from services.loki.api import failure_details
from services.loki.errors import ScriptError
from services.loki.messages import duration, language_of, limits_of, log_to_proto, result_to_proto
from services.loki.model import LogEntry
from services.loki.programs.errors import WorkerLostError
from services.loki.scripts.checks import Checker
from services.loki.scripts.logs import KEPT, ScriptLogs
from services.loki.scripts.messages import script_from_proto, script_to_proto
from services.loki.scripts.repl import Conversation, Repl
from services.loki.scripts.service import Scripts, matcher
from services.loki.scripts.testing import ScriptTester
from yggdrasil.loki.v1 import loki_pb2, script_pb2_grpc
from yggdrasil.loki.v1 import script_pb2 as pb

NAME = pb.DESCRIPTOR.services_by_name["ScriptService"].full_name

SILENCE_S = 600.0


class ScriptApi(script_pb2_grpc.ScriptServiceServicer):
    """The servicer. What each RPC does and how it fails stands in script.proto."""

    def __init__(self, scripts: Scripts, checker: Checker, tester: ScriptTester, repl: Repl, logs: ScriptLogs) -> None:
        self._scripts, self._checker, self._tester = scripts, checker, tester
        self._repl, self._logs = repl, logs

    async def RegisterScript(self, request: pb.RegisterScriptRequest, context: Any) -> pb.RegisterScriptResponse:
        """Register a script."""
        script = script_from_proto(request.script)
        with failure_details(script.file, ()):
            kept = await self._scripts.register(
                script, author=caller().uri, revision=request.revision, create_only=request.create_only
            )
        return pb.RegisterScriptResponse(script=script_to_proto(kept))

    async def GetScript(self, request: pb.GetScriptRequest, context: Any) -> pb.GetScriptResponse:
        """Return one script."""
        return pb.GetScriptResponse(script=script_to_proto(await self._scripts.get(request.name)))

    async def ListScripts(self, request: pb.ListScriptsRequest, context: Any) -> pb.ListScriptsResponse:
        """Scripts by name."""
        found = await self._scripts.list(request.pattern)
        return pb.ListScriptsResponse(scripts=[script_to_proto(script, source=False) for script in found])

    async def DeleteScript(self, request: pb.DeleteScriptRequest, context: Any) -> pb.DeleteScriptResponse:
        """Delete a script."""
        await self._scripts.delete(request.name, request.revision)
        return pb.DeleteScriptResponse()

    async def RunScript(self, request: pb.RunScriptRequest, context: Any) -> AsyncIterator[pb.RunScriptResponse]:
        """Run a script; stream its log, then its result."""
        script = await self._scripts.get(request.name)
        given = codec.values_from_proto(request.arguments)
        entries: asyncio.Queue[LogEntry | None] = asyncio.Queue()
        running = asyncio.create_task(self._scripts.run(script, request.device_id, given, entries.put_nowait))
        running.add_done_callback(lambda _: entries.put_nowait(None))
        try:
            while (entry := await entries.get()) is not None:
                yield pb.RunScriptResponse(log=log_to_proto(entry))
            with failure_details(script.file, ()):
                ended = await running
            yield pb.RunScriptResponse(result=result_to_proto(ended.outcome))
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def CheckScript(self, request: pb.CheckScriptRequest, context: Any) -> pb.CheckScriptResponse:
        """Looks at a text."""
        devices, findings = await self._checker.check(
            text.normalized(request.source), language_of(request.language), tuple(request.device_ids), request.selector
        )
        return pb.CheckScriptResponse(findings=findings, device_ids=devices)

    async def WatchScriptLogs(
        self, request: pb.WatchScriptLogsRequest, context: Any
    ) -> AsyncIterator[pb.WatchScriptLogsResponse]:
        """Stream the last lines, then new lines."""
        matches = matcher(request.pattern)
        if request.pattern and not set("*?") & set(request.pattern) and not self._logs.has(matches):
            await self._scripts.get(request.pattern)
        await context.send_initial_metadata(())  # a caller that follows need not wait for the first line
        async for line in self._logs.watch(matches, min(request.tail, KEPT), stored_only=request.stored_only):
            yield line

    async def TestScript(self, request: pb.TestScriptRequest, context: Any) -> pb.TestScriptResponse:
        """Run the tests of a text."""
        report = await self._tester.test(
            text.normalized(request.source),
            language_of(request.language),
            subject=text.normalized(request.subject),
            device_id=request.device_id,
            name=request.name,
            limits=limits_of(request.limits),
        )
        results = [pb.TestResult(name=r.name, passed=r.passed, message=r.message, line=r.line) for r in report.results]
        logs = [log_to_proto(entry) for entry in report.logs]
        return pb.TestScriptResponse(results=results, logs=logs, duration=duration(report.duration_s))

    async def Interact(
        self, requests: AsyncIterator[pb.InteractRequest], context: Any
    ) -> AsyncIterator[pb.InteractResponse]:
        """Return a conversation."""
        first = await _next(requests)
        if first is None:
            return
        async with self._repl.conversation(language_of(first.language), first.device_id) as conversation:
            request: pb.InteractRequest | None = first
            while request is not None:
                if request.source.strip():
                    async for response in _evaluated(conversation, text.normalized(request.source)):
                        yield response
                request = await _next(requests)


async def _next(requests: AsyncIterator[pb.InteractRequest]) -> pb.InteractRequest | None:
    """Return the next message; None at the end, and after a long silence."""
    try:
        async with asyncio.timeout(SILENCE_S):
            return await anext(requests, None)
    except TimeoutError:
        return None


async def _evaluated(conversation: Conversation, source: str) -> AsyncIterator[pb.InteractResponse]:
    logs: list[LogEntry] = []
    try:
        value = await conversation.evaluate(source, logs.append)
    except WorkerLostError:
        raise
    except YggError as e:
        line = e.line if isinstance(e, ScriptError) else 0
        failure = loki_pb2.ScriptFailure(reason=e.reason, line=line, message=e.message)
        last = pb.InteractResponse(failure=failure)
    else:
        last = pb.InteractResponse(value=codec.value_to_proto(value))
    for entry in logs:
        yield pb.InteractResponse(log=log_to_proto(entry))
    yield last
