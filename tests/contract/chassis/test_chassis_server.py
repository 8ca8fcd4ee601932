"""The gRPC server of the chassis over real mutual TLS: callers, failures and stopping."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry import trace

from services.chassis import probe, rpc, status, telemetry
from services.chassis.errors import CallerError, ListenError, StoreUnavailableError
from services.chassis.identity import IdentityFiles
from services.chassis.quota import StoreUse
from services.chassis.server import MAX_MESSAGE_BYTES, MAX_STREAMS
from services.domain.errors import Code, FieldViolation, InvalidRequestError
from tests.contract.chassis.conftest import NAME, Calls, Serve, collected, failure
from tests.fixtures.pki import Pki
from tests.fixtures.wait import eventually

Call = Callable[..., Calls]
KINDS = ["unary", "download", "upload", "chat"]


async def whoami(request: bytes, context: Any) -> bytes:
    return rpc.caller().uri.encode()


async def requests() -> AsyncIterator[bytes]:
    yield b"request"


def behaviours(act: Callable[[], Any]) -> dict[str, Any]:
    """Return handlers of all four kinds; each awaits `act` and responds with its result."""

    async def one(request: Any, context: Any) -> bytes:
        return bytes(await act())

    async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield bytes(await act())

    return {"unary": one, "download": many, "upload": one, "chat": many}


async def result(calls: Calls, kind: str) -> bytes:
    """Return the response of a call of that kind."""
    if kind == "unary":
        return bytes(await calls.unary(b"request"))
    if kind == "upload":
        return bytes(await calls.upload(requests()))
    stream = calls.download(b"request") if kind == "download" else calls.chat(requests())
    return b"".join(await collected(stream))


@pytest.mark.parametrize(("kind", "name"), [("user", "operator"), ("user", "auditor"), ("service", "loki")])
async def test_caller_is_identified_by_certificate(serve: Serve, call: Call, pki: Pki, kind: str, name: str) -> None:
    serving = await serve(unary=whoami)
    assert await call(serving, pki.files(kind, name)).unary(b"") == f"ygg://main/{kind}/{name}".encode()


async def test_concurrent_callers_are_kept_apart(serve: Serve, call: Call, pki: Pki) -> None:
    together = asyncio.Barrier(10)

    async def meet() -> bytes:
        before = rpc.caller()
        await together.wait()
        assert rpc.caller() is before
        return before.uri.encode()

    serving = await serve(**behaviours(meet))
    names = ["operator", "auditor"] * 5
    clients = {name: call(serving, pki.files("user", name)) for name in set(names)}
    answers = await asyncio.gather(*(clients[name].unary(b"") for name in names))
    assert answers == [f"ygg://main/user/{name}".encode() for name in names]


async def test_device_is_rejected_in_handshake(serve: Serve, call: Call, pki: Pki) -> None:
    serving = await serve(unary=whoami)
    error = await failure(call(serving, pki.files("device", "porch-1")).unary(b"", timeout=5))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_device_is_rejected_when_its_ca_is_trusted(serve: Serve, call: Call, pki: Pki, tmp_path: Path) -> None:
    """If the device CA is listed among the clients', the interceptor still recognises a device by its URI."""
    shutil.copytree(pki.directory("service", "registry"), tmp_path / "identity")
    clients = tmp_path / "identity" / "clients.pem"
    clients.write_bytes(clients.read_bytes() + (tmp_path / "identity" / "devices.pem").read_bytes())
    serving = await serve(**behaviours(lambda: whoami(b"", None)), files=IdentityFiles(tmp_path / "identity"))
    for kind in KINDS:
        error = await failure(result(call(serving, pki.files("device", "porch-1")), kind))
        info = status.error_info(error)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert info is not None
        assert info.reason == "IDENTITY"


async def test_server_rejects_foreign_certificates(serve: Serve, call: Call, pki: Pki, other_pki: Pki) -> None:
    serving = await serve(unary=whoami)
    for stranger in (other_pki.files("user", "operator"), pki.expired("user", "late")):
        error = await failure(call(serving, stranger).unary(b"", timeout=5))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    roots = pki.files("user", "operator").read("services.pem")
    for anonymous in (
        grpc.aio.secure_channel(serving.endpoint, grpc.ssl_channel_credentials(roots)),
        grpc.aio.insecure_channel(serving.endpoint),
    ):
        async with anonymous:
            error = await failure(Calls(anonymous).unary(b"", timeout=5))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert await call(serving).unary(b"")  # the server keeps serving


async def test_client_rejects_server_of_another_mesh(serve: Serve, call: Call, other_pki: Pki) -> None:
    serving = await serve(unary=whoami, files=other_pki.files("service", "registry"))
    error = await failure(call(serving).unary(b"", timeout=5))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_service_only_call_rejects_users(serve: Serve, call: Call, pki: Pki) -> None:
    async def for_the_bridge() -> bytes:
        rpc.require_service("jotunheim_bridge", "registry")
        return b"welcome"

    serving = await serve(**behaviours(for_the_bridge))
    assert await call(serving, pki.files("service", "jotunheim_bridge")).unary(b"") == b"welcome"
    strangers = [("user", "operator"), ("user", "registry"), ("service", "loki")]
    for stranger in (pki.files(kind, name) for kind, name in strangers):
        error = await failure(call(serving, stranger).unary(b""))
        back = status.from_rpc(error, "the registry")
        assert (back.code, back.reason) == (Code.PERMISSION_DENIED, CallerError.reason)
    info = status.error_info(error)
    assert info is not None
    assert info.metadata["caller"] == "ygg://main/service/loki"


@pytest.mark.parametrize("kind", KINDS)
async def test_error_reaches_caller_with_all_fields(serve: Serve, call: Call, kind: str) -> None:
    async def fail() -> bytes:
        raise InvalidRequestError("größe is 7", hint="Take 50 to 5000 ms.", field="größe", least=50)

    error = await failure(result(call(await serve(**behaviours(fail))), kind))
    back = status.from_rpc(error, "the registry")
    assert (back.code, back.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert (back.message, back.hint) == ("größe is 7", "Take 50 to 5000 ms.")
    assert (back.data, back.violations) == ({"least": "50"}, (FieldViolation("größe", "größe is 7"),))
    assert error.details() == "größe is 7. Take 50 to 5000 ms."


@pytest.mark.parametrize("letter", ["a", "é", "語"])
async def test_long_error_keeps_code_and_reason(serve: Serve, call: Call, letter: str) -> None:
    class TalkativeError(InvalidRequestError):
        details = (StringValue(value="short"), StringValue(value=letter * 100_000))

    async def fail() -> bytes:
        raise TalkativeError(letter * 100_000, hint=letter * 100_000, field=letter * 100_000)

    error, detail = await failure(call(await serve(**behaviours(fail))).unary(b"")), StringValue()
    back = status.from_rpc(error, "the registry")
    assert (back.code, back.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    shown = {"a": 1024, "é": 256, "語": 128}[letter]
    assert (back.message, back.hint) == (letter * (shown - 1) + "…", letter * (shown - 1) + "…")
    assert status.unpack_detail(error, detail)
    assert detail.value == "short"


async def test_stream_delivers_response_before_error(serve: Serve, call: Call) -> None:
    async def two_then_fail(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"
        raise InvalidRequestError("three is too many")

    stream = call(await serve(download=two_then_fail)).download(b"")
    assert [await stream.read(), await stream.read()] == [b"one", b"two"]
    assert (await failure(stream.read())).code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", KINDS)
async def test_unexpected_error_is_internal_without_its_text(
    serve: Serve, call: Call, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> bytes:
        raise ZeroDivisionError("password=hunter2 in /secret/path")

    telemetry.configure("test", "replica-1", "0")
    error = await failure(result(call(await serve(**behaviours(fail))), kind))
    assert status.from_rpc(error, "the registry").reason == "INTERNAL"
    assert error.code() is grpc.StatusCode.INTERNAL
    text = f"{error.details()} {error.trailing_metadata()} {error.debug_error_string()}"
    assert not any(secret in text for secret in ("hunter2", "ZeroDivision", "/secret"))
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "hunter2" in str(record.exc_info)
    assert str(error.details()).rpartition(" ")[2] != "0" * 32


async def test_call_without_deadline_gets_default(serve: Serve, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "UNARY_DEADLINE_S", 0.05)
    ended = asyncio.Event()

    async def forever() -> bytes:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return b""

    serving = await serve(**behaviours(forever))
    error = await asyncio.wait_for(failure(call(serving).unary(b"")), 5)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert status.from_rpc(error, "the registry").reason == "DEADLINE"
    assert ended.is_set()


@pytest.mark.parametrize("kind", ["unary", "download"])
async def test_deadline_cancels_handler(serve: Serve, call: Call, kind: str) -> None:
    ended = asyncio.Event()

    async def forever() -> bytes:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return b""

    calls = call(await serve(**behaviours(forever)))
    slow = calls.unary(b"", timeout=0.2) if kind == "unary" else calls.download(b"", timeout=0.2).read()
    assert (await failure(slow)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(ended.wait(), 5)


async def test_cancelled_call_cancels_handler(serve: Serve, call: Call) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever() -> bytes:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return b""

    running = call(await serve(**behaviours(forever))).unary(b"")
    task = asyncio.ensure_future(failure_or_cancelled(running))
    await begun.wait()
    running.cancel()
    await asyncio.wait_for(ended.wait(), 5)
    await task


async def failure_or_cancelled(running: Any) -> None:
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await running


async def test_server_rejects_oversized_message(serve: Serve, call: Call) -> None:
    async def size(request: bytes, context: Any) -> bytes:
        return str(len(request)).encode()

    calls = call(await serve(unary=size))
    assert await calls.unary(bytes(MAX_MESSAGE_BYTES)) == str(MAX_MESSAGE_BYTES).encode()
    error = await failure(calls.unary(bytes(MAX_MESSAGE_BYTES + 1)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("kind", KINDS)
async def test_trace_continues_in_called_service(serve: Serve, call: Call, kind: str) -> None:
    telemetry.configure("test", "replica-1", "0")

    async def my_trace() -> bytes:
        return trace.get_current_span().get_span_context().trace_id.to_bytes(16, "big")

    calls = call(await serve(**behaviours(my_trace)))
    with telemetry.tracer().start_as_current_span("caller") as span:
        inside = await result(calls, kind)
    assert int.from_bytes(inside, "big") == span.get_span_context().trace_id
    assert await result(calls, kind) != inside


async def test_health_reports_version_and_instance(serve: Serve, call: Call) -> None:
    serving = await serve(unary=whoami)
    health = health_pb2_grpc.HealthStub(call(serving).channel)
    for name in ("", NAME, "yggdrasil.ota.v1.OtaService"):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == 1
    error = await failure(health.Check(health_pb2.HealthCheckRequest(service="no.such.Service")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    answer = health.Check(health_pb2.HealthCheckRequest())
    assert dict(await answer.trailing_metadata()) == {
        "ygg-version": "1.2.3",
        "ygg-instance": "replica-1",
        "ygg-start-unix": "1700000000.250",
    }


async def silent() -> StoreUse:
    await asyncio.Event().wait()
    raise AssertionError


async def away() -> StoreUse:
    raise StoreUnavailableError("NATS does not answer")


async def full() -> StoreUse:
    return StoreUse(5_000_000, 0)


async def boundless() -> StoreUse:
    return StoreUse(7, None)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (full, {"ygg-store-used": "5000000", "ygg-store-limit": "0"}),
        (boundless, {"ygg-store-used": "7"}),
        (away, {}),
        (silent, {}),
    ],
)
async def test_health_reports_store_usage_when_nats_does(
    serve: Serve, call: Call, use: Callable[[], Awaitable[StoreUse]], expected: dict[str, str]
) -> None:
    serving = await serve(unary=whoami)
    serving.server.set_store_usage(use)
    health = health_pb2_grpc.HealthStub(call(serving).channel)
    answer = health.Check(health_pb2.HealthCheckRequest())
    assert {key: value for key, value in await answer.trailing_metadata() if key.startswith("ygg-store")} == expected
    of_one = health.Check(health_pb2.HealthCheckRequest(service=NAME))
    assert not [key for key, _ in await of_one.trailing_metadata() if key.startswith("ygg-store")]


async def test_health_watch_reports_changes(serve: Serve, call: Call) -> None:
    serving = await serve(unary=whoami)
    watching = health_pb2_grpc.HealthStub(call(serving).channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watching.read()).status == 1
    await serving.server.set_serving(False)
    assert (await watching.read()).status == 2
    await serving.server.set_serving(True)
    assert (await watching.read()).status == 1


async def test_probe_exit_status_reports_health(serve: Serve, pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    serving = await serve(unary=whoami)
    command = [serving.endpoint, str(pki.directory("service", "registry"))]
    assert await asyncio.to_thread(probe.main, command) == 0
    await serving.server.set_serving(False)
    assert await asyncio.to_thread(probe.main, command) == 1
    assert await asyncio.to_thread(probe.main, ["127.0.0.1:1", command[1]]) == 1
    assert await asyncio.to_thread(probe.main, [serving.endpoint, "/nowhere"]) == 1
    assert await asyncio.to_thread(probe.main, []) == 2
    assert "UNAVAILABLE" in capsys.readouterr().err


async def test_reflection_describes_services(serve: Serve, call: Call) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(call(await serve(unary=whoami)).channel)

    async def ask(**what: str) -> Any:
        async def one() -> AsyncIterator[Any]:
            yield reflection_pb2.ServerReflectionRequest(**what)

        (answer,) = await collected(stub.ServerReflectionInfo(one()))
        return answer

    listed = {service.name for service in (await ask(list_services="")).list_services_response.service}
    assert {"yggdrasil.ota.v1.OtaService", "grpc.health.v1.Health", NAME} <= listed
    described = await ask(file_containing_symbol="yggdrasil.ota.v1.OtaService")
    file = FileDescriptorProto.FromString(described.file_descriptor_response.file_descriptor_proto[0])
    assert file.package == "yggdrasil.ota.v1"


async def test_stop_finishes_calls_and_rejects_new_ones(serve: Serve, call: Call) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> bytes:
        begun.set()
        await go.wait()
        return b"done"

    serving = await serve(**behaviours(slow))
    calls, late = call(serving), call(serving)
    running = asyncio.ensure_future(calls.unary(b""))
    await begun.wait()
    watching = health_pb2_grpc.HealthStub(calls.channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
    assert (await watching.read()).status == 1
    stopping = asyncio.create_task(serving.server.stop(30))
    assert (await watching.read()).status == 2
    error = await failure(late.unary(b"", timeout=5))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not stopping.done()
    watching.cancel()
    go.set()
    assert await running == b"done"
    await asyncio.wait_for(stopping, 5)


async def test_stop_cancels_calls_after_grace_period(serve: Serve, call: Call) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever() -> bytes:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return b""

    serving = await serve(**behaviours(forever))
    running = asyncio.ensure_future(failure(call(serving).unary(b"")))
    await begun.wait()
    await asyncio.wait_for(serving.server.stop(0.1), 5)
    assert (await running).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    await asyncio.wait_for(ended.wait(), 5)


async def test_start_fails_when_port_is_occupied(serve: Serve) -> None:
    serving = await serve(unary=whoami)
    with pytest.raises(ListenError, match=serving.endpoint):
        await serve(unary=whoami, listen=serving.endpoint)


@pytest.mark.parametrize("gap", [0, 1])
async def test_channel_recovers_within_two_seconds(serve: Serve, call: Call, gap: int) -> None:
    first = await serve(unary=whoami)
    calls = call(first)
    assert await calls.unary(b"")
    await first.server.stop(0)
    if gap:  # down long enough for several attempts to fail, so that the backoff has grown
        await eventually(lambda: _failed_for(calls, 9.5), within_s=15)
    second = await serve(unary=whoami, listen=first.endpoint)
    assert second.endpoint == first.endpoint

    async def answers() -> bool:
        try:
            return bool(await calls.unary(b"", timeout=0.5))
        except grpc.aio.AioRpcError:
            return False

    await eventually(answers, within_s=3, what="the channel to be back")  # 2 s, 20 % jitter, the handshake


_since: dict[int, float] = {}


async def _failed_for(calls: Calls, seconds: float) -> bool:
    """Repeat a failing call for the given number of seconds."""
    now = asyncio.get_running_loop().time()
    began = _since.setdefault(id(calls), now)
    assert (await failure(calls.unary(b"", timeout=0.5))).code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )
    return now - began > seconds


@pytest.mark.parametrize("kind", KINDS)
async def test_error_in_task_group_keeps_its_code(serve: Serve, call: Call, kind: str) -> None:
    async def refuse() -> None:
        raise InvalidRequestError("no id")

    async def act() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refuse())

    error = await failure(result(call(await serve(**behaviours(act))), kind))
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "no id")


async def test_connection_queues_calls_beyond_limit(serve: Serve, call: Call) -> None:
    """grpcio's overload protection would reject some of them with UNAVAILABLE."""
    opened, running, peak = asyncio.Event(), 0, 0

    async def slow(request: bytes, context: Any) -> bytes:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await opened.wait()
        running -= 1
        return request

    connected = call(await serve(unary=slow))
    calls = [asyncio.ensure_future(connected.unary(str(number).encode())) for number in range(5 * MAX_STREAMS)]
    await eventually(lambda: running == MAX_STREAMS)
    opened.set()
    assert await asyncio.gather(*calls) == [str(number).encode() for number in range(5 * MAX_STREAMS)]
    assert peak == MAX_STREAMS
