# ruff: noqa: E501 - scripts in one line
"""Loki over mutual TLS: the real process with the real registry, bridge, NATS and a device."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from services.chassis import codec, status
from services.chassis.nats import flush_all
from tests.fixtures.mesh import Mesh, Processes, client
from tests.fixtures.nats import Connect
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, starter
from tests.fixtures.wait import eventually
from yggdrasil.common.v1 import value_pb2
from yggdrasil.device.v1 import link_pb2 as link
from yggdrasil.loki.v1 import loki_pb2 as pb
from yggdrasil.loki.v1 import loki_pb2_grpc

V = value_pb2.Value
LUA, SCHEME = pb.LANGUAGE_LUA, pb.LANGUAGE_SCHEME
BOTH = pytest.mark.parametrize("language", [LUA, SCHEME], ids=["lua", "scheme"])
READ = {LUA: 'return device:read("led0.hours")', SCHEME: '(property-read "led0.hours")'}


@pytest.fixture(scope="module")
def loki_process(
    shared_processes: Processes, pki: Pki, tmp_path_factory: pytest.TempPathFactory, scheme_cache: Path
) -> Iterator[ServiceProcess]:
    with starter(pki) as start:
        process = start(
            "loki",
            nats_url=shared_processes.nats.url,
            registry_endpoint=shared_processes.endpoint("registry"),
            bridge_endpoint=shared_processes.endpoint("jotunheim_bridge"),
            data_dir=scheme_cache,
        )
        process.ready(60)
        yield process


@pytest_asyncio.fixture
async def loki(loki_process: ServiceProcess, pki: Pki) -> AsyncIterator[Any]:
    async with client(loki_process.listen, pki) as channel:
        yield loki_pb2_grpc.LokiServiceStub(channel)


def request(source: str, language: Any = LUA, **fields: Any) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(source=source, language=language, **fields)


async def execute(loki: Any, source: str, language: Any = LUA, **fields: Any) -> pb.ExecutionResult:
    answer = await loki.Execute(request(source, language, **fields), timeout=30)
    result: pb.ExecutionResult = answer.result
    return result


async def refused(loki: Any, source: str, language: Any = LUA, **fields: Any) -> tuple[grpc.aio.AioRpcError, Any, Any]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(loki, source, language, **fields)
    failure = pb.ScriptFailure()
    status.unpack_detail(caught.value, failure)
    return caught.value, status.error_info(caught.value), failure


def integer(invoke: link.Invoke, number: int) -> link.Result:
    values = [link.Argument(index=0, value=link.LinkValue(integer=number))]
    return link.Result(call_id=invoke.call_id, status=link.RESULT_STATUS_OK, values=values)


@BOTH
async def test_a_script_returns_a_value_and_its_log(loki: Any, language: Any) -> None:
    source = (
        'log.warn("careful") return {args.n * 2, "é"}'
        if language == LUA
        else """
        (log-warning "careful") (list (* 2 (arg 'n)) "é")"""
    )
    result = await execute(loki, source, language, arguments={"n": V(int=21)})
    assert codec.value_from_proto(result.value) == [42, "é"]
    assert [(entry.level, entry.message) for entry in result.logs] == [(pb.LOG_LEVEL_WARNING, "careful")]
    assert result.logs[0].time.seconds > 1_700_000_000
    assert result.duration.ToNanoseconds() > 0


@BOTH
async def test_execute_takes_a_source_with_a_byte_order_mark_and_crlf(loki: Any, language: Any) -> None:
    lines = ["-- a remark", "return 'a'", ""] if language == LUA else [";; @dialect r7rs", '(string-append "a" "")', ""]
    result = await execute(loki, "\ufeff" + "\r\n".join(lines), language)
    assert codec.value_from_proto(result.value) == "a"


async def test_a_script_that_returns_nothing_has_no_value(loki: Any) -> None:
    assert not (await execute(loki, "local x = 1")).HasField("value")


@BOTH
async def test_the_log_is_streamed_as_it_happens(loki: Any, mesh: Mesh, language: Any) -> None:
    device = await mesh.device()
    await device.negotiate()
    source = (
        'log("one") device.led0.blink{times = 1} log("two") return 3'
        if language == LUA
        else '(log "one") (call "led0.blink" \'((times . 1))) (log "two") 3'
    )
    run = request(source, language, device_id=mesh.one)
    call = loki.ExecuteStream(pb.ExecuteStreamRequest(request=run), timeout=30)
    assert (await call.read()).log.message == "one"
    await device.answer(lambda invoke: integer(invoke, 1))  # the script has waited for this since
    second, third = await call.read(), await call.read()
    assert second.log.message == "two"
    assert third.result.value.int == 3
    assert not third.result.logs
    assert await call.read() is grpc.aio.EOF


FAILURES = [
    (LUA, "return return", grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX", 1),
    (LUA, "\nerror('x')", grpc.StatusCode.FAILED_PRECONDITION, "SCRIPT_ERROR", 2),
    (LUA, "\nwhile true do end", grpc.StatusCode.DEADLINE_EXCEEDED, "TIMEOUT", 2),
    (LUA, "return ('x'):rep(1e9)", grpc.StatusCode.RESOURCE_EXHAUSTED, "MEMORY", 1),
    (LUA, "while true do log('x') end", grpc.StatusCode.RESOURCE_EXHAUSTED, "OUTPUT", 0),
    (SCHEME, "(car", grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX", 1),
    (SCHEME, "\n(car 1)", grpc.StatusCode.FAILED_PRECONDITION, "SCRIPT_ERROR", 2),
    (SCHEME, "\n(let loop () (loop))", grpc.StatusCode.DEADLINE_EXCEEDED, "TIMEOUT", 2),
    (SCHEME, "\n(make-vector 1000000000 0)", grpc.StatusCode.RESOURCE_EXHAUSTED, "MEMORY", 2),
    (SCHEME, "(let loop () (log 'x) (loop))", grpc.StatusCode.RESOURCE_EXHAUSTED, "OUTPUT", 0),
]


@pytest.mark.parametrize(
    ("language", "source", "code", "reason", "line"), FAILURES, ids=[f"{f[0]}-{f[3]}" for f in FAILURES]
)
async def test_a_failure_has_its_status_and_its_detail(
    loki: Any, language: Any, source: str, code: grpc.StatusCode, reason: str, line: int
) -> None:
    limits = pb.ExecutionLimits(timeout=Duration(nanos=500_000_000))
    error, info, failure = await refused(loki, source, language, limits=limits, name="a.script")
    assert (error.code(), info.reason, info.domain) == (code, reason, "yggdrasil")
    assert failure.reason == reason
    assert failure.line == line or reason in ("OUTPUT", "SYNTAX")
    assert "a.script" in (error.details() or "")


async def test_a_failure_keeps_the_last_of_its_log_however_long(loki: Any) -> None:
    error, _, failure = await refused(
        loki, "for i = 1, 200 do log(i .. (' é'):rep(40)) end error(('é'):rep(5000))", name="n" * 255
    )
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.reason == "SCRIPT_ERROR"
    assert 1 <= len(failure.logs) < 200
    _, _, failure = await refused(loki, "log('a') log('b') error('x')")
    assert [entry.message for entry in failure.logs] == ["a", "b"]


@pytest.mark.parametrize(
    "bad",
    [
        request("", LUA),
        request("return 1\0"),
        request("x" * (256 * 1024 + 1)),
        pb.ExecuteRequest(source="return 1"),
        pb.ExecuteRequest(source="return 1", language=77),  # type: ignore[arg-type]
        request("return 1", device_id="Not An Id"),
        request("return 1", name="n" * 256),
        request("return 1", limits=pb.ExecutionLimits(timeout=Duration(seconds=301))),
        request("return 1", limits=pb.ExecutionLimits(timeout=Duration(seconds=-1))),
        request("return 1", limits=pb.ExecutionLimits(memory_bytes=1)),
        request("return 1", limits=pb.ExecutionLimits(output_bytes=2**40)),
        request("return 1", arguments={f"a{i}": V(int=i) for i in range(65)}),
    ],
    ids=lambda r: str(r)[:40].replace("\n", " "),
)
async def test_a_request_out_of_bounds_is_refused(loki: Any, bad: pb.ExecuteRequest) -> None:
    for call in (loki.Execute(bad), loki.ExecuteStream(pb.ExecuteStreamRequest(request=bad))):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if hasattr(call, "read") else call)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_source_that_is_not_utf8_does_not_reach_loki(loki_process: ServiceProcess, pki: Pki) -> None:
    raw = b"\x0a\x04\xff\xfe\xfd\xfc\x10\x01"  # source = four bytes that are no UTF-8, language = LUA
    async with client(loki_process.listen, pki) as channel:
        call: Any = channel.unary_unary("/yggdrasil.loki.v1.LokiService/Execute")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(raw, timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not a valid message of its type" in (caught.value.details() or "")


async def test_the_largest_source_runs(loki: Any) -> None:
    comment = "-- " + "x" * (256 * 1024 - 3 - 9)
    assert (await execute(loki, f"return 1\n{comment}")).value.int == 1


async def test_capabilities_list_engines_and_limits(loki: Any) -> None:
    answer = await loki.GetCapabilities(pb.GetCapabilitiesRequest())
    engines = {engine.language: engine for engine in answer.engines}
    assert engines[LUA].available
    assert engines[SCHEME].available
    assert engines[LUA].version.startswith("Lua 5.4.")
    assert engines[SCHEME].version.startswith("GNU Guile 3.")
    assert (engines[LUA].workers, engines[SCHEME].workers) == (2, 2)
    assert answer.default_limits.timeout.seconds == 10
    assert answer.max_limits.memory_bytes == 256 * 1024 * 1024


@BOTH
async def test_a_script_reads_a_real_device(loki: Any, mesh: Mesh, language: Any) -> None:
    device = await mesh.device()
    await device.negotiate()
    running = asyncio.create_task(execute(loki, READ[language], language, device_id=mesh.one))
    await device.answer(lambda invoke: integer(invoke, 1234))
    result = await running
    assert (result.value.int, result.host_calls) == (1234, 1)


@BOTH
async def test_an_action_runs_on_a_real_device(loki: Any, mesh: Mesh, language: Any) -> None:
    device = await mesh.device()
    await device.negotiate()
    source = "return device.led0.blink{times = 3}" if language == LUA else '(call "led0.blink" \'((times . 3)))'
    running = asyncio.create_task(execute(loki, source, language, device_id=mesh.one))
    invoke = await device.answer(lambda invoke: integer(invoke, 3))
    assert [argument.value.integer for argument in invoke.arguments] == [3]
    assert 0 < invoke.deadline_ms <= 10_000
    assert codec.value_from_proto((await running).value) == {"count": 3}


@BOTH
async def test_call_outside_contract_never_reaches_the_device(loki: Any, mesh: Mesh, language: Any) -> None:
    device = await mesh.device()
    await device.negotiate()
    source = "device.led0.blink{times = 99}" if language == LUA else '(call "led0.blink" \'((times . 99)))'
    error, info, failure = await refused(loki, source, language, device_id=mesh.one)
    assert (error.code(), info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ARGUMENT_NOT_IN_CONTRACT")
    assert "1 to 20" in failure.message
    with pytest.raises(TimeoutError):
        await device.expect("invoke", within_s=0.2)


@BOTH
async def test_unknown_device_keeps_error_of_registry(loki: Any, language: Any) -> None:
    error, info, failure = await refused(loki, READ[language], language, device_id="missing-1")
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert info.reason == failure.reason
    assert "missing-1" in failure.message


@BOTH
async def test_a_device_that_is_gone_keeps_the_bridges_answer(loki: Any, mesh: Mesh, language: Any) -> None:
    device = await mesh.device()
    await device.negotiate()
    device.vanish()
    await eventually(lambda: offline(mesh))
    error, info, _ = await refused(loki, READ[language], language, device_id=mesh.one)
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    assert info.domain == "yggdrasil"


async def offline(mesh: Mesh) -> bool:
    from yggdrasil.registry.v1 import registry_pb2 as rp

    answer = await mesh.registry.GetDevice(rp.GetDeviceRequest(device_id=mesh.one))
    return not answer.device.presence.online


@BOTH
async def test_devices_are_found_by_capability(loki: Any, mesh: Mesh, language: Any) -> None:
    device = await mesh.device()
    await device.negotiate()
    source = (
        'local t = json.array() for _, d in ipairs(ygg.devices{has = "actuator.led@1+", online = true}) do t[#t + 1] = d.id end return t'
        if language == LUA
        else "(map device-id (devices '((has . #(\"actuator.led@1+\")) (online . #t))))"
    )  # fmt: skip

    async def found() -> bool:
        return mesh.one in codec.value_from_proto((await execute(loki, source, language)).value)  # type: ignore[operator]

    await eventually(found)


@BOTH
async def test_a_message_is_published_as_a_cloud_event(
    loki: Any, language: Any, connect_nats: Connect, loki_process: ServiceProcess
) -> None:
    listener = await connect_nats("loki")
    subscription = await listener.subscribe("ygg.v1.main.loki.heat.message.>")
    await flush_all(listener)
    source = (
        'publish("alarm.high", {celsius = 80.5})' if language == LUA else '(publish "alarm.high" \'((celsius . 80.5)))'
    )
    await execute(loki, source, language, name="heat.script")
    message = await subscription.next_msg(timeout=5)
    assert message.subject == "ygg.v1.main.loki.heat.message.alarm.high"
    assert codec.value_from_proto(V.FromString(message.data)) == {"celsius": 80.5}
    assert message.headers is not None
    assert message.headers["ce-type"] == "io.yggdrasil.common.v1.Value"
    assert message.headers["ce-source"] == "ygg://main/loki/heat"


async def streamed(loki: Any, source: str, language: Any) -> list[Any]:
    """Two streamed calls of a script, both past its first log entry, "here"."""
    calls = [loki.ExecuteStream(pb.ExecuteStreamRequest(request=request(source, language))) for _ in range(2)]
    for call in calls:
        assert (await call.read()).log.message == "here"
    return calls


@BOTH
async def test_cancelled_call_frees_the_worker(loki: Any, language: Any) -> None:
    forever = 'log("here") while true do end' if language == LUA else '(log "here") (let loop () (loop))'
    for call in await streamed(loki, forever, language):
        call.cancel()
    result = await execute(loki, "return 1" if language == LUA else "1", language)
    assert result.value.int == 1


@BOTH
async def test_the_callers_deadline_ends_the_script(loki: Any, language: Any) -> None:
    forever = "while true do end" if language == LUA else "(let loop () (loop))"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await loki.Execute(request(forever, language), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await execute(loki, "return 1" if language == LUA else "1", language)).value.int == 1


@BOTH
async def test_killed_workers_fail_only_their_calls(loki: Any, loki_process: ServiceProcess, language: Any) -> None:
    wait = 'log("here") sleep(3) return 1' if language == LUA else '(log "here") (sleep 3) 1'
    other = SCHEME if language == LUA else LUA
    calls = await streamed(loki, wait, language)
    for pid in workers(loki_process.pid, "scheme" if language == SCHEME else "lua"):
        os.kill(pid, signal.SIGKILL)
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await call.read()
        info = status.error_info(lost.value)
        assert (lost.value.code(), info and info.reason) == (grpc.StatusCode.INTERNAL, "CRASH")
    assert (await execute(loki, "return 1" if other == LUA else "1", other)).value.int == 1
    assert (await execute(loki, "return 1" if language == LUA else "1", language)).value.int == 1


def workers(parent: int, language: str) -> list[int]:
    """Return the worker processes of a language, found by their command line."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                mine = f"\nPPid:\t{parent}\n" in (process / "status").read_text()
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if mine and (b"guile" in command) == (language == "scheme"):
                found.append(int(process.name))
    return found


async def test_no_worker_outlives_a_killed_service(pki: Pki, mesh: Mesh, scheme_cache: Path) -> None:
    with starter(pki) as start:
        process = start(
            "loki",
            nats_url=mesh.processes.nats.url,
            registry_endpoint=mesh.processes.endpoint("registry"),
            bridge_endpoint=mesh.processes.endpoint("jotunheim_bridge"),
            data_dir=scheme_cache,
        )
        process.ready(60)
        pids = workers(process.pid, "lua") + workers(process.pid, "scheme")
        assert len(pids) == 4
        process.kill()
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


async def test_service_without_guile_starts_and_names_package(pki: Pki, mesh: Mesh, tmp_path: Path) -> None:
    with starter(pki) as start:
        process = start(
            "loki",
            nats_url=mesh.processes.nats.url,
            registry_endpoint=mesh.processes.endpoint("registry"),
            bridge_endpoint=mesh.processes.endpoint("jotunheim_bridge"),
            data_dir=tmp_path,
            guile="no-such-guile",
        )
        process.ready(60)
        async with client(process.listen, pki) as channel:
            stub = loki_pb2_grpc.LokiServiceStub(channel)
            assert (await execute(stub, "return 1")).value.int == 1
            error, info, _ = await refused(stub, "1", SCHEME)
            assert (error.code(), info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "ENGINE_MISSING")
            assert "apt-get install guile-3.0" in (error.details() or "")
