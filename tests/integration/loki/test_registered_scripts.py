"""Registered scripts: stored with revisions and served as typed RPCs by two replicas; called with the real grpcurl."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from services.chassis import codec, status
from tests.fixtures.mesh import Mesh, Processes, client
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from yggdrasil.common.v1 import value_pb2
from yggdrasil.loki.v1 import loki_pb2, loki_pb2_grpc, script_pb2_grpc
from yggdrasil.loki.v1 import script_pb2 as pb

GRPCURL = Path(sys.executable).parent / "grpcurl"
SERVICE = "yggdrasil.loki.v1.Scripts"
LUA, SCHEME = loki_pb2.LANGUAGE_LUA, loki_pb2.LANGUAGE_SCHEME
V = value_pb2.Value


@pytest.fixture(scope="module")
def replicas(shared_processes: Processes, pki: Pki, scheme_cache: Path) -> Iterator[list[ServiceProcess]]:
    with starter(pki) as start:
        started = [
            start(
                "loki",
                nats_url=shared_processes.nats.url,
                registry_endpoint=shared_processes.endpoint("registry"),
                bridge_endpoint=shared_processes.endpoint("jotunheim_bridge"),
                data_dir=scheme_cache,
                workers=1,
            )
            for _ in range(2)
        ]
        for process in started:
            process.ready(60)
        yield started


class Both:
    """Stubs of both replicas, and grpcurl for each."""

    def __init__(self, replicas: list[ServiceProcess], pki: Pki, channels: list[grpc.aio.Channel]) -> None:
        self._replicas, self._identity = replicas, pki.directory("user", "operator")
        self.one, self.two = (script_pb2_grpc.ScriptServiceStub(channel) for channel in channels)
        self.loki: Any = loki_pb2_grpc.LokiServiceStub(channels[0])

    def grpcurl(self, replica: int, *words: str, data: str = "") -> subprocess.CompletedProcess[str]:
        """Run grpcurl against a replica."""
        files = self._identity
        argv = [
            str(GRPCURL),
            "-cacert",
            f"{files}/services.pem",
            "-cert",
            f"{files}/cert.pem",
            "-key",
            f"{files}/key.pem",
        ]
        argv += ["-d", data] if data else []
        call = [*argv, self._replicas[replica].listen, *words]
        return subprocess.run(call, capture_output=True, text=True, timeout=30, check=False)


@pytest_asyncio.fixture
async def both(replicas: list[ServiceProcess], pki: Pki) -> AsyncIterator[Both]:
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(client(process.listen, pki)) for process in replicas]
        yield Both(replicas, pki, channels)


@pytest.fixture
def name() -> str:
    return f"s_{secrets.token_hex(4)}"


def field(
    name: str, kind: Any = pb.SCRIPT_TYPE_UNSPECIFIED, description: str = "", optional: bool = False
) -> pb.ScriptField:
    return pb.ScriptField(name=name, type=kind, description=description, optional=optional)


def blink(name: str, **more: Any) -> pb.Script:
    return pb.Script(
        name=name,
        language=LUA,
        source='log("blinking") return {count = args.times * 2, user = args.user or "guest", half = 1}',
        description="Blink an LED.",
        parameters=[
            field("times", pb.SCRIPT_TYPE_INT, "How often, 1 to 20."),
            field("user", pb.SCRIPT_TYPE_STRING, optional=True),
        ],
        results=[
            field("count", pb.SCRIPT_TYPE_INT, "How often it was lit."),
            field("user", pb.SCRIPT_TYPE_STRING),
            field("half", pb.SCRIPT_TYPE_DOUBLE),
        ],
        **more,
    )


async def register(stub: Any, script: pb.Script, **more: Any) -> pb.Script:
    answer = await stub.RegisterScript(pb.RegisterScriptRequest(script=script, **more), timeout=30)
    kept: pb.Script = answer.script
    return kept


async def refused(call: Any) -> tuple[grpc.StatusCode, str, grpc.aio.AioRpcError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = status.error_info(caught.value)
    return caught.value.code(), info.reason if info else "", caught.value


def class_name(name: str) -> str:
    second = name.removeprefix("s_")
    return f"S{'_' + second if second[0].isdigit() else second.capitalize()}"


async def test_registered_script_is_an_rpc_until_deleted(both: Both, name: str) -> None:
    kept = await register(both.one, blink(name, requires=["actuator.led@1+"]))
    assert kept.method == f"{SERVICE}/Script_{name}"
    assert kept.author.endswith("/user/operator")
    for replica in (1, 0):  # the other one first
        assert SERVICE in both.grpcurl(replica, "list").stdout.splitlines()
        assert f"{SERVICE}.Script_{name}" in both.grpcurl(replica, "list", SERVICE).stdout.splitlines()
        described = both.grpcurl(replica, "describe", f"{SERVICE}.Script_{name}").stdout
        scripts = ".yggdrasil.loki.v1.scripts."
        assert "// Blink an LED. Requires actuator.led@1+." in described, described
        assert (
            f"rpc Script_{name} ( {scripts}{class_name(name)}Request ) returns ( {scripts}{class_name(name)}Response );"
            in described
        )
        request = both.grpcurl(replica, "describe", f"yggdrasil.loki.v1.scripts.{class_name(name)}Request").stdout
        assert "// How often, 1 to 20.\n  optional sint64 times = 2;" in request, request
        assert "optional string user = 3;" in request
    await both.two.DeleteScript(pb.DeleteScriptRequest(name=name), timeout=10)
    for replica in (0, 1):
        assert name not in both.grpcurl(replica, "list", SERVICE).stdout
        gone = both.grpcurl(replica, "describe", f"{SERVICE}.Script_{name}")
        assert gone.returncode != 0
        assert both.grpcurl(replica, f"{SERVICE}/Script_{name}").returncode != 0


async def test_grpcurl_calls_it_with_its_own_types(both: Both, name: str) -> None:
    await register(both.one, blink(name))
    done = both.grpcurl(1, f"{SERVICE}/Script_{name}", data='{"times": 3, "user": "me"}')
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["count"], answer["user"], answer["half"]) == ("6", "me", 1)
    assert [line["message"] for line in answer["logs"]] == ["blinking"]
    assert json.loads(both.grpcurl(0, f"{SERVICE}/Script_{name}", data='{"times": 0}').stdout)["user"] == "guest"
    wrong = both.grpcurl(0, f"{SERVICE}/Script_{name}", data='{"times": "many"}')
    assert wrong.returncode != 0
    missing = both.grpcurl(0, f"{SERVICE}/Script_{name}", data="{}")
    assert "InvalidArgument" in missing.stderr
    assert f"{name} needs times" in missing.stderr


async def test_a_script_without_declared_results_returns_any_value(both: Both, name: str) -> None:
    await register(
        both.one, pb.Script(name=name, language=SCHEME, source="(list 1 (arg 'what))", parameters=[field("what")])
    )
    done = both.grpcurl(0, f"{SERVICE}/Script_{name}", data='{"what": {"map": {"entries": {"k": {"bool": true}}}}}')
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)["value"]["list"]["values"]
    assert values == [{"int": "1"}, {"map": {"entries": {"k": {"bool": True}}}}]


async def test_services_that_are_always_there_are_described_as_before(both: Both, name: str) -> None:
    await register(both.one, blink(name))
    names = both.grpcurl(0, "list").stdout.splitlines()
    assert {
        "yggdrasil.loki.v1.LokiService",
        "yggdrasil.loki.v1.ScriptService",
        "grpc.health.v1.Health",
        SERVICE,
    } <= set(names)
    assert "rpc Execute" in both.grpcurl(0, "describe", "yggdrasil.loki.v1.LokiService").stdout
    assert both.grpcurl(0, "describe", "yggdrasil.loki.v1.NoSuch").returncode != 0


async def test_revisions_are_compared(both: Both, name: str) -> None:
    first = await register(both.one, blink(name))
    second = await register(both.two, blink(name), revision=first.revision)
    assert second.revision > first.revision
    assert second.create_time == first.create_time
    code, reason, error = await refused(register(both.one, blink(name), revision=first.revision))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "STALE_REVISION")
    info = status.error_info(error)
    assert info is not None
    assert info.metadata["current"] == str(second.revision)
    assert (await refused(register(both.one, blink(name), create_only=True)))[:2] == (
        grpc.StatusCode.ALREADY_EXISTS,
        "SCRIPT_EXISTS",
    )
    code, reason, _ = await refused(
        both.one.DeleteScript(pb.DeleteScriptRequest(name=name, revision=first.revision), timeout=10)
    )
    assert (code, reason) == (grpc.StatusCode.ABORTED, "STALE_REVISION")


async def test_twenty_writers_of_one_name_leave_one_whole_script(both: Both, name: str) -> None:
    stubs = [both.one, both.two] * 10
    scripts = [pb.Script(name=name, language=LUA, source=f"return {n}", description=f"writer {n}") for n in range(20)]
    await asyncio.gather(*(register(stub, script) for stub, script in zip(stubs, scripts, strict=True)))
    found = [(await stub.GetScript(pb.GetScriptRequest(name=name), timeout=10)).script for stub in (both.one, both.two)]
    assert found[0] == found[1]
    assert found[0].source == f"return {found[0].description.split()[1]}"


async def test_scripts_are_listed_by_pattern(both: Both, name: str) -> None:
    for suffix in ("_b", "_a"):
        await register(both.one, blink(name + suffix))
    listed = (await both.two.ListScripts(pb.ListScriptsRequest(pattern=f"{name}_?"), timeout=10)).scripts
    assert [(script.name, script.source) for script in listed] == [(f"{name}_a", ""), (f"{name}_b", "")]
    assert not (await both.one.ListScripts(pb.ListScriptsRequest(pattern="nobody_*"), timeout=10)).scripts


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("a syntax error", {"source": "return return"}, "SYNTAX", ":1:"),
    ("no source", {"source": " "}, "INVALID_SCRIPT", "empty"),
    ("no language", {"language": 0}, "INVALID_SCRIPT", "language"),
    ("a name with a dot", {"name": "a.b"}, "INVALID_ID", "a.b"),
    ("a parameter of the request's own", {"parameters": [field("device_id")]}, "INVALID_SCRIPT", "device_id"),
    ("a parameter twice", {"parameters": [field("a"), field("a")]}, "INVALID_SCRIPT", "twice"),
    ("a parameter in capitals", {"parameters": [field("Times")]}, "INVALID_ID", "Times"),
    ("too many parameters", {"parameters": [field(f"p{n}") for n in range(33)]}, "INVALID_SCRIPT", "32"),
    ("an invalid requirement", {"requires": ["led?"]}, "INVALID_ID", "led"),
    ("a long description", {"description": "x" * 1001}, "INVALID_SCRIPT", "1000"),
    ("limits out of bounds", {"limits": loki_pb2.ExecutionLimits(memory_bytes=1)}, "INVALID_SCRIPT", "memory_bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reason", "says"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_invalid_script_cannot_be_registered(
    both: Both, name: str, change: dict[str, Any], reason: str, says: str
) -> None:
    fields: dict[str, Any] = {"name": name, "language": LUA, "source": "return 1"} | change
    code, found, error = await refused(register(both.one, pb.Script(**fields)))
    assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert says in (error.details() or "")
    assert (await refused(both.one.GetScript(pb.GetScriptRequest(name=name), timeout=10)))[:2] == (
        grpc.StatusCode.NOT_FOUND,
        "SCRIPT_NOT_FOUND",
    )


async def test_registering_executes_nothing(both: Both, name: str) -> None:
    for language, source in ((LUA, "while true do end"), (SCHEME, "(let loop () (loop))")):
        await register(both.one, pb.Script(name=name, language=language, source=source))


async def test_result_against_its_declaration_is_an_error(both: Both, name: str) -> None:
    script = blink(name)
    script.source = 'return {count = "two", user = "x", half = 1}'
    await register(both.one, script)
    code, reason, error = await refused(run(both.one, name, times=V(int=1)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESULT_NOT_DECLARED")
    assert "count is an int, not a string" in (error.details() or "")


async def run(stub: Any, name: str, device: str = "", **arguments: Any) -> tuple[list[str], Any]:
    request = pb.RunScriptRequest(name=name, device_id=device, arguments=arguments)
    logs, result = [], None
    async for item in stub.RunScript(request, timeout=30):
        if item.HasField("log"):
            logs.append(item.log.message)
        else:
            result = codec.value_from_proto(item.result.value)
    return logs, result


async def test_script_runs_by_name_and_is_logged_by_every_replica(both: Both, name: str) -> None:
    await register(both.one, blink(name))
    await run(both.one, name, times=V(int=1))
    watch = both.two.WatchScriptLogs(pb.WatchScriptLogsRequest(pattern=name, tail=5), timeout=30)
    earlier: Any = await watch.read()  # the watch is active from here on
    assert await run(both.one, name, times=V(int=2)) == (["blinking"], {"count": 4, "user": "guest", "half": 1})
    line: Any = await watch.read()
    assert line.run_id != earlier.run_id
    watch.cancel()
    assert (line.name, line.log.message, line.device_id) == (name, "blinking", "")
    again = both.one.WatchScriptLogs(pb.WatchScriptLogsRequest(pattern=name, tail=5), timeout=30)
    before: list[Any] = [await again.read(), await again.read()]
    assert [each.run_id for each in before] == [earlier.run_id, line.run_id]
    again.cancel()


async def test_unmet_requirement_is_reported_before_the_run(both: Both, mesh: Mesh, name: str) -> None:
    device = await mesh.device()
    await device.negotiate()
    await register(both.one, blink(name, requires=["actuator.led@1+", "sensor.smoke@1+"]))
    code, reason, error = await refused(run(both.one, name, mesh.one, times=V(int=1)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REQUIREMENT_NOT_MET")
    assert "no sensor.smoke" in (error.details() or "")
    code, reason, _ = await refused(run(both.one, name, times=V(int=1)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REQUIREMENT_NOT_MET")


async def test_component_status_lists_dependencies_of_loki(both: Both, mesh: Mesh) -> None:
    await (await mesh.device()).negotiate()
    answer = await both.loki.GetComponentStatus(loki_pb2.GetComponentStatusRequest(), timeout=10)
    known = {(child.kind, child.id): child for child in answer.components}
    ok = loki_pb2.HEALTH_OK
    assert known["registry", "registry"].health == known["bridge", "jotunheim_bridge"].health == ok
    assert known["worker", "lua"].health == known["worker", "scheme"].health == ok
    assert "seccomp" in known["worker", "lua"].note
    assert known["device", mesh.one].health == ok
    assert answer.devices >= answer.devices_online >= 1
    capabilities = await both.loki.GetCapabilities(loki_pb2.GetCapabilitiesRequest(), timeout=10)
    assert all(engine.sandbox.startswith("seccomp") for engine in capabilities.engines)


async def test_script_is_checked_against_contract_without_running(both: Both, mesh: Mesh) -> None:
    await (await mesh.device()).negotiate()
    source = 'local x = yy\ndevice:read("led9.on")\nwhile true do end'
    request = pb.CheckScriptRequest(source=source, language=LUA, device_ids=[mesh.one])
    answer = await both.one.CheckScript(request, timeout=20)
    assert [(f.line, f.column, f.rule) for f in answer.findings] == [(1, 11, "UNDEFINED"), (2, 13, "NOT_IN_CONTRACT")]
    assert list(answer.device_ids) == [mesh.one]
    assert "led9" in answer.findings[1].message


@pytest.mark.parametrize(("language", "source"), [(LUA, "\nreturn return"), (SCHEME, "\n(car")], ids=["lua", "scheme"])
async def test_compile_error_is_the_only_finding(both: Both, language: Any, source: str) -> None:
    answer = await both.one.CheckScript(pb.CheckScriptRequest(source=source, language=language), timeout=20)
    assert [(f.line, f.rule, f.severity) for f in answer.findings] == [(2, "SYNTAX", pb.SEVERITY_ERROR)]


async def test_check_for_an_unknown_device_is_reported(both: Both) -> None:
    request = pb.CheckScriptRequest(source="return 1", language=LUA, device_ids=["missing-9"])
    assert (await refused(both.one.CheckScript(request, timeout=20)))[0] is grpc.StatusCode.NOT_FOUND
