"""gRPC client of registered scripts: register, list, run, check, test, evaluate interactively, follow logs.

Does not print and reads no file.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.chassis.codec import value_from_proto, values_to_proto
from services.domain.errors import YggError
from services.domain.values import Value
from ygg.client import Mesh
from ygg.exits import CliError
from ygg.output import safe
from ygg.script_files import Declared, Header
from ygg.scripts import GRACE_S, LANGUAGES, QUEUE_S, Line, Outcome, failure_at, line_of, outcome_of
from yggdrasil.loki.v1 import script_pb2 as pb
from yggdrasil.loki.v1 import script_pb2_grpc

CHECK_S, TEST_S, RUN_S = (
    QUEUE_S + longest_s for longest_s in (60.0, 120.0, 300.0)
)  # includes the wait for a free worker


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnostic at a position in a file; `severity` is error, warning or note."""

    line: int
    column: int
    severity: str
    rule: str
    message: str


def _stub(mesh: Mesh) -> Any:
    return script_pb2_grpc.ScriptServiceStub(mesh.channel("loki"))


def register(
    mesh: Mesh, name: str, source: str, language: str, header: Header, *, revision: int, create_only: bool
) -> pb.Script:
    """Register a script and return it as stored. Raises CliError with the position of a compile error."""
    script = pb.Script(
        name=name,
        language=LANGUAGES[language],
        source=source,
        description=header.description,
        parameters=[_field(declared) for declared in header.parameters],
        results=[_field(declared) for declared in header.results],
        requires=header.requires,
    )
    request = pb.RegisterScriptRequest(script=script, revision=revision, create_only=create_only)
    answer: pb.RegisterScriptResponse = mesh.call("loki", _stub(mesh).RegisterScript, request, timeout_s=CHECK_S)
    return answer.script


def _field(declared: Declared) -> pb.ScriptField:
    kind = "UNSPECIFIED" if declared.type == "any" else declared.type.upper()
    return pb.ScriptField(
        name=declared.name,
        type=pb.ScriptType.Value(f"SCRIPT_TYPE_{kind}"),
        description=declared.description,
        optional=declared.optional,
    )


def listed(mesh: Mesh, pattern: str) -> Sequence[pb.Script]:
    """Return the scripts whose name matches `pattern`, sorted by name."""
    answer: pb.ListScriptsResponse = mesh.call("loki", _stub(mesh).ListScripts, pb.ListScriptsRequest(pattern=pattern))
    return list(answer.scripts)


def fetched(mesh: Mesh, name: str) -> pb.Script:
    """Return a script with its source."""
    answer: pb.GetScriptResponse = mesh.call("loki", _stub(mesh).GetScript, pb.GetScriptRequest(name=name))
    return answer.script


def remove(mesh: Mesh, name: str, revision: int) -> None:
    """Delete a script."""
    mesh.call("loki", _stub(mesh).DeleteScript, pb.DeleteScriptRequest(name=name, revision=revision))


def run(mesh: Mesh, name: str, device: str, arguments: Mapping[str, Value], on_log: Callable[[Line], None]) -> Outcome:
    """Run a registered script and return its outcome; `on_log` gets each log line as it arrives."""
    request = pb.RunScriptRequest(name=name, device_id=device, arguments=values_to_proto(arguments))
    try:
        for response in mesh.stream("loki", _stub(mesh).RunScript(request, timeout=RUN_S + GRACE_S)):
            if response.HasField("log"):
                on_log(line_of(response.log))
            elif response.HasField("result"):
                return outcome_of(response.result)
    except YggError as e:
        raise failure_at(name, e) from e
    raise CliError(f"loki ended the run of {name} without a result", hint="Check the service:  ygg status")


def check(
    mesh: Mesh, source: str, language: str, devices: Sequence[str], selector: str
) -> tuple[list[Finding], list[str]]:
    """Return the findings in a source, and the devices whose contracts it was checked against."""
    request = pb.CheckScriptRequest(source=source, language=LANGUAGES[language], device_ids=devices, selector=selector)
    answer: pb.CheckScriptResponse = mesh.call("loki", _stub(mesh).CheckScript, request, timeout_s=CHECK_S)
    severity = {pb.SEVERITY_ERROR: "error", pb.SEVERITY_WARNING: "warning"}
    findings = [
        Finding(f.line, f.column, severity.get(f.severity, "note"), f.rule, safe(f.message, 2000))
        for f in answer.findings
    ]
    return findings, list(answer.device_ids)


def test(mesh: Mesh, source: str, language: str, *, subject: str, device: str, name: str) -> pb.TestScriptResponse:
    """Run the tests of a source."""
    request = pb.TestScriptRequest(
        source=source, language=LANGUAGES[language], subject=subject, device_id=device, name=name
    )
    answer: pb.TestScriptResponse = mesh.call("loki", _stub(mesh).TestScript, request, timeout_s=TEST_S)
    return answer


def logs(mesh: Mesh, pattern: str, last: int, *, follow: bool) -> Any:
    """Return the stream of the last log lines and, with `follow`, of new ones; read it with `mesh.stream`."""
    request = pb.WatchScriptLogsRequest(pattern=pattern, tail=last, stored_only=not follow)
    return _stub(mesh).WatchScriptLogs(request)


class Conversation:
    """An interactive session: sources evaluated one after another in the same globals."""

    def __init__(self, mesh: Mesh, language: str, device: str) -> None:
        self._texts: queue.Queue[pb.InteractRequest | None] = queue.Queue()
        self._texts.put(pb.InteractRequest(language=LANGUAGES[language], device_id=device))
        requests = iter(self._texts.get, None)
        self._responses: Any = mesh.stream("loki", _stub(mesh).Interact(requests))

    def evaluate(self, text: str, on_log: Callable[[Line], None]) -> tuple[Value, str]:
        """Return the value of a source and "", or None and its error. Raises YggError if the session is over."""
        self._texts.put(pb.InteractRequest(source=text))
        for response in self._responses:
            if response.HasField("log"):
                on_log(line_of(response.log))
            elif response.HasField("failure"):
                failure = response.failure
                return None, f"line {failure.line}: {failure.message}" if failure.line else failure.message
            else:
                return value_from_proto(response.value), ""
        raise CliError(
            "loki closed the session", hint="A session ends after 10 minutes without input. Start a new one."
        )

    def close(self) -> None:
        """End the session."""
        self._texts.put(None)
        self._responses.close()
