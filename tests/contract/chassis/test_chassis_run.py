"""A service as a process: start, failed start and stop, with ota as the example."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from services.chassis import channel, probe
from services.chassis.credentials import credentials
from tests.fixtures.nats import NatsServer
from tests.fixtures.pki import Pki
from tests.fixtures.process import ServiceProcess, StartService
from tests.fixtures.wait import until
from yggdrasil.ota.v1 import ota_pb2 as pb
from yggdrasil.ota.v1 import ota_pb2_grpc
from yggdrasil.registry.v1 import enrolment_pb2, enrolment_pb2_grpc


def critical_line(process: ServiceProcess) -> dict[str, Any]:
    """Return the only critical log line of a service that has exited."""
    (line,) = [line for line in process.log() if line["level"] == "critical"]
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service_logs_ready_and_stops_on_signal(
    start_service: StartService, nats_server: NatsServer, tmp_path: Path, number: signal.Signals
) -> None:
    process = start_service("ota", nats_url=nats_server.url, data_dir=tmp_path, instance_id="replica-7")
    ready = process.ready()
    host, _, port = str(ready["listen"]).rpartition(":")
    assert (host, ready["service"], ready["instance"]) == ("127.0.0.1", "ota", "replica-7")
    socket.create_connection((host, int(port)), 5).close()
    assert process.signal(number) == 0
    messages = [line["msg"] for line in process.log()]
    assert messages.index("ready") < messages.index("stopping") < messages.index("stopped") == len(messages) - 1
    assert all(json.loads(line) for line in process.lines)  # standard error contains only log lines


def test_settings_errors_are_logged_in_one_line(start_service: StartService) -> None:
    process = start_service("ota", listen="nowhere", cache_bytes=1, nats_url="nats://127.0.0.1:1")
    assert process.wait() == 2
    (line,) = process.lines
    for name in ("LISTEN", "CACHE_BYTES", "NATS_URL", "DATA_DIR"):
        assert f"YGG_OTA_{name}:" in line
    assert line.startswith("ota: ")


def test_missing_identity_is_logged_with_remedy(
    start_service: StartService, nats_server: NatsServer, tmp_path: Path
) -> None:
    process = start_service("ota", nats_url=nats_server.url, data_dir=tmp_path, identity=tmp_path / "none")
    assert process.wait() == 1
    assert str(tmp_path / "none") in critical_line(process)["msg"]
    assert "ygg pki" in critical_line(process)["hint"]


def test_occupied_port_is_logged_in_one_line(
    start_service: StartService, nats_server: NatsServer, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start_service("ota", nats_url=nats_server.url, data_dir=tmp_path, listen=listen)
        assert process.wait() == 1
    assert (critical_line(process)["msg"], critical_line(process)["reason"]) == (f"cannot listen on {listen}", "LISTEN")
    assert "exception" not in critical_line(process)


def test_startup_error_is_logged_in_one_line(
    start_service: StartService, nats_server: NatsServer, tmp_path: Path
) -> None:
    process = start_service(
        "ota",
        nats_url=nats_server.url,
        data_dir=tmp_path,
        object_store="s3",
        s3_endpoint_url="https://127.0.0.1:1",
        s3_access_key_file=tmp_path / "none",
        s3_secret_key_file=tmp_path / "none",
    )
    assert process.wait() == 1
    assert critical_line(process)["reason"] == "OBJECT_STORE_REFUSED"
    assert str(tmp_path / "none") in critical_line(process)["msg"]


def test_service_stops_while_waiting_for_nats(
    start_service: StartService, fresh_nats: NatsServer, tmp_path: Path
) -> None:
    fresh_nats.stop()
    process = start_service("ota", nats_url=fresh_nats.url, data_dir=tmp_path)
    until(lambda: any("refused" in line for line in process.lines), what="a first attempt")
    assert process.signal(signal.SIGTERM, within_s=5) == 0
    assert process.log()[-1]["msg"] == "stopped"


def test_service_stops_while_waiting_for_object_store(
    start_service: StartService, nats_server: NatsServer, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("key")
    process = start_service(
        "ota",
        nats_url=nats_server.url,
        data_dir=tmp_path,
        object_store="s3",
        s3_endpoint_url="https://127.0.0.1:1",
        s3_access_key_file=tmp_path / "key",
        s3_secret_key_file=tmp_path / "key",
    )
    until(lambda: any("object store connection failed" in line for line in process.lines), what="a first attempt")
    assert process.signal(signal.SIGTERM, within_s=5) == 0


def test_service_is_ready_once_nats_is_up(start_service: StartService, fresh_nats: NatsServer, tmp_path: Path) -> None:
    fresh_nats.stop()
    process = start_service("ota", nats_url=fresh_nats.url, data_dir=tmp_path)
    until(lambda: any("refused" in line for line in process.lines), what="a first attempt")
    fresh_nats.start()
    assert process.ready(within_s=5)


async def test_service_finishes_running_call_when_stopped(
    start_service: StartService, nats_server: NatsServer, pki: Pki, tmp_path: Path
) -> None:
    process = start_service("ota", nats_url=nats_server.url, data_dir=tmp_path, drain_s=30)
    go, data = asyncio.Event(), b"firmware"

    async def slow() -> AsyncIterator[pb.UploadImageRequest]:
        digest = "8d8ba3ec0c8dba7bd9bdcc8e5f85b7d7e0ad6ee8ff5f54be4d9da3dcaa2b5b12"
        yield pb.UploadImageRequest(header=pb.ImageHeader(size_bytes=len(data), sha256=digest))
        await go.wait()
        yield pb.UploadImageRequest(chunk=data)

    async with channel.connect(process.listen, pki.files("user", "operator"), "ota") as connected:
        running = asyncio.ensure_future(_code(ota_pb2_grpc.OtaServiceStub(connected).UploadImage(slow())))
        await asyncio.to_thread(until, lambda: list((tmp_path / "cache").glob(".*.part")))
        stopping = asyncio.create_task(asyncio.to_thread(process.terminate))
        await asyncio.to_thread(until, lambda: any(line["msg"] == "stopping" for line in process.log()))
        go.set()
        assert await running is grpc.StatusCode.INVALID_ARGUMENT  # the response: the digest differs
        assert await stopping == 0


async def _code(call: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await call
    return e.value.code()


def test_service_exits_when_nats_closes_connection(
    start_service: StartService, fresh_nats: NatsServer, pki: Pki, tmp_path: Path
) -> None:
    fresh_nats.configure(max_control_line=400)
    process = start_service("registry", nats_url=fresh_nats.url, data_dir=tmp_path, enrol_listen="127.0.0.1:0")
    with grpc.secure_channel(process.listen, credentials(pki.files("user", "operator"))) as calls:
        stub = enrolment_pb2_grpc.EnrolmentServiceStub(calls)
        with pytest.raises(grpc.RpcError):
            stub.DeleteToken(enrolment_pb2.DeleteTokenRequest(token_id="a" * 500), timeout=10)
    assert process.wait() == 1
    assert "the connection to NATS was closed" in critical_line(process)["msg"]


def test_service_is_not_serving_when_nats_is_down(
    start_service: StartService, fresh_nats: NatsServer, pki: Pki, tmp_path: Path
) -> None:
    process = start_service("ota", nats_url=fresh_nats.url, data_dir=tmp_path)
    files = pki.files("service", "ota")
    assert probe.serving(process.listen, files)
    fresh_nats.kill()
    until(lambda: not probe.serving(process.listen, files), what="health that says NOT_SERVING")
    fresh_nats.start()
    until(lambda: probe.serving(process.listen, files), what="health that says SERVING again")
